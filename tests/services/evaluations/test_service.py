"""Evaluations: paired answers of the real engine, scored, kept as they are made, gone on with after any end. The scorer is a
script; so is the engine where no answer matters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from studio.config import ROOT
from studio.domain.chat import BASE
from studio.domain.data import Message
from studio.domain.evaluations import Evaluation
from studio.domain.toxicity import TestPrompt
from studio.errors import ConflictError
from studio.services.compare.panes import PaneChat, row_seed
from studio.services.evaluations.rows import seed_of
from tests.helpers.compare import add_run
from tests.helpers.evaluation_services import HOW, House, form
from tests.helpers.evaluations import (
    PROMPTS,
    SCORER,
    light_run,
    score_of,
)
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


def keys(found: Evaluation) -> list[tuple[str, str, int]]:
    return [(row.adapter, row.prompt_id, row.sample) for row in found.rows]


def everything(found: Evaluation) -> list[tuple[str, str, int]]:
    return [
        (adapter, prompt.id, sample)
        for prompt in found.spec.prompts
        for sample in range(found.spec.samples)
        for adapter in found.spec.adapters
    ]


# -- a whole one ----------------------------------------------------------------------------------------------------------


def test_every_prompt_is_answered_on_both_sides_with_one_seed_and_scored(house: House) -> None:
    for number, name in enumerate(("run-one", "run-two"), 1):
        add_run(house.runs, name, title=f"Run {number}", seed=number)
    name = house.evaluations.start(form("run-two", "run-one"))
    found = house.done(name)
    assert keys(found) == everything(found)
    assert (found.total, len(found.rows), found.message, found.kept) == (16, 16, "", False)
    spec = found.spec
    assert (spec.adapters, spec.before, spec.scorer, spec.system_prompt) == (
        ("run-two", "run-one"),
        BASE,
        SCORER,
        "Be kind.",
    )
    assert spec.hashes == ("", house.runs.get("run-two").adapter_hash, house.runs.get("run-one").adapter_hash)
    assert spec.base == house.models.resolve("embedded").ref
    assert spec.title == "Run 2 · Run 1 · mixed"
    for row in found.rows:
        for answer, score in ((row.response_before, row.before), (row.response_after, row.after)):
            assert score == score_of(answer)
    # one base answer stands against both adapters, and is scored once
    by_key = dict(zip(keys(found), found.rows, strict=True))
    for prompt in PROMPTS:
        for sample in (0, 1):
            one, two = by_key["run-one", prompt.id, sample], by_key["run-two", prompt.id, sample]
            assert one.response_before == two.response_before
    assert sum(map(len, house.scoring.calls)) <= 24
    assert {text for call in house.scoring.prompts for text in call} <= {prompt.text for prompt in PROMPTS}

    # the same answers as a chat gives with the same seeds; in bf16 only their beginnings are sure to be (ml/chat/decoding.py)
    row = by_key["run-one", "en-2", 1]
    asked = (Message("system", "Be kind."), Message("user", row.query))
    seed = row_seed(HOW.seed + 1, 1)
    assert seed == seed_of(spec, 1, 1)
    chats = [PaneChat(BASE, asked, seed), PaneChat("run-one", asked, seed)]
    updates = list(house.compare.stream(chats, HOW))[-1]
    assert [update.text[:9] for update in updates] == [row.response_before[:9], row.response_after[:9]]
    assert len({row.response_before for row in found.rows}) > 4, "samples of a prompt differ, and so do prompts"


def test_two_stages_of_training_can_be_compared(house: House) -> None:
    add_run(house.runs, "run-first", seed=1)
    add_run(house.runs, "run-then", seed=2)
    found = house.done(house.evaluations.start(form("run-then", before="run-first", samples=1, title=" Stages ")))
    assert (found.spec.before, found.spec.title, len(found.rows)) == ("run-first", "Stages", 4)
    assert all(found.spec.hashes)


def test_a_chat_gets_its_turn_in_between(house: House) -> None:
    add_run(house.runs, "run-one")
    prompts = tuple(TestPrompt(f"p{n}", f"Question number {n}, please.") for n in range(60))
    name = house.evaluations.start(form("run-one", prompts=prompts, samples=4))
    wait_until(lambda: house.evaluations.status(name).done > 0, 120)
    chat = house.compare.stream([PaneChat(BASE, (Message("user", "Hello!"),))], HOW)
    assert list(chat)[-1][0].done
    assert house.evaluations.status(name).busy, "the chat did not wait for the evaluation's end"
    status = house.evaluations.status(name)
    assert status.total == 240
    assert status.eta is None or status.eta > 0
    house.evaluations.cancel(name)
    house.done(name, "cancelled")


# -- ending early and going on ----------------------------------------------------------------------------------------------


def test_cancel_keeps_what_is_done_and_resume_makes_the_rest_once(house: House) -> None:
    add_run(house.runs, "run-one")
    name = house.evaluations.start(form("run-one", samples=8))
    wait_until(lambda: len(house.scoring.calls) == 2, 120)
    house.scoring.gate.clear()
    house.evaluations.cancel(name)
    house.scoring.gate.set()
    first = house.done(name, "cancelled")
    assert 8 <= len(first.rows) < first.total == 32
    status = house.evaluations.status(name)
    assert (status.resumable, status.done) == (True, len(first.rows))
    # all prompts were asked once before any was asked again
    assert {(row.prompt_id, row.sample) for row in first.rows} >= {(prompt.id, 0) for prompt in PROMPTS}
    house.evaluations.cancel(name)  # again: nothing to do

    scored = sum(map(len, house.scoring.calls))
    house.evaluations.resume(name)
    second = house.done(name)
    assert keys(second) == everything(second)
    before = dict(zip(keys(first), first.rows, strict=True))
    assert all(before.get(key, row) == row for key, row in zip(keys(second), second.rows, strict=True))
    assert sum(map(len, house.scoring.calls)) - scored <= 2 * (32 - len(first.rows))
    with pytest.raises(ConflictError, match="is done; there is nothing to resume"):
        house.evaluations.resume(name)


KILLED = """
import sys, pathlib
from tests.helpers.evaluations import ScriptedCompare
from tests.helpers.evaluation_services import House, form
from tests.helpers.waiting import wait_until
from studio.config import Settings

folder = pathlib.Path(sys.argv[1])
house = House(Settings(adapters_dir=folder / "adapters", imported_dir=folder / "imported", cache_dir=folder / "cache",
    database_url=f"sqlite:///{folder / 'studio.db'}"), ScriptedCompare)
name = house.evaluations.start(form("run-one", samples=50))
print(name, flush=True)
wait_until(lambda: not house.evaluations.status(name).busy, 240)
"""


def test_a_killed_server_leaves_it_interrupted_and_another_goes_on(quick: House, tmp_path: Path) -> None:
    light_run(quick.runs, "run-one")
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    wait_until(lambda: quick.evaluations.status(name).done >= 8, 240)
    assert quick.evaluations.status(name).state == "running", "another process is at work on it"
    with pytest.raises(ConflictError, match="Another process"):
        quick.evaluations.cancel(name)
    with pytest.raises(ConflictError, match="is running; there is nothing to resume"):
        quick.evaluations.resume(name)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(30)

    status = quick.evaluations.status(name)
    assert (status.state, status.resumable) == ("interrupted", True)
    assert "Resume goes on" in status.message
    kept = quick.evaluations.get(name)
    assert 8 <= len(kept.rows) < 200
    quick.evaluations.resume(name)
    found = quick.done(name)
    assert keys(found) == everything(found)
    assert [row for row in kept.rows if row not in found.rows] == []


def test_close_interrupts_and_nothing_is_lost(quick: House) -> None:
    light_run(quick.runs, "run-one")
    names = [quick.evaluations.start(form("run-one", samples=50)) for _ in range(2)]
    wait_until(lambda: quick.evaluations.status(names[0]).done > 0, 120)
    quick.evaluations.close()
    other = quick.evaluations = quick.service()
    assert [other.status(name).state for name in names] == ["interrupted"] * 2
    for name in names:
        other.resume(name)
    wait_until(lambda: other.status(names[0]).done > 8, 240)


def test_one_at_a_time_first_in_first_out(quick: House) -> None:
    light_run(quick.runs, "run-one")
    quick.scoring.gate.clear()
    names = [quick.evaluations.start(form("run-one", samples=1, title=title)) for title in "abc"]
    wait_until(lambda: quick.evaluations.status(names[0]).note == "Scoring the answers.", 120)
    assert [quick.evaluations.status(name).ahead for name in names] == [0, 1, 2]
    assert [quick.evaluations.status(name).state for name in names] == ["running", "queued", "queued"]
    quick.evaluations.cancel(names[1])
    assert quick.evaluations.status(names[1]).state == "cancelled"
    assert quick.evaluations.status(names[2]).ahead == 1
    with pytest.raises(ConflictError, match="at work"):
        quick.evaluations.delete(names[2])
    quick.scoring.gate.set()
    first, third = quick.done(names[0]), quick.done(names[2])
    assert first.updated < third.updated
    assert quick.evaluations.get(names[1]).rows == ()
    assert [one.id for one in quick.evaluations.list()] == [names[2], names[1], names[0]]
