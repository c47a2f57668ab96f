"""Evaluations: paired answers of the real engine, scored, kept as they are made, gone on with after any end. The scorer is a
script; so is the engine where no answer matters."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import add_run
from conftest import wait_until
from evaluation_helpers import (
    PROMPTS,
    SCORER,
    ScriptedCompare,
    ScriptedToxicity,
    light_run,
    make_evaluation,
    make_rows,
    make_spec,
    score_of,
)

from studio.config import ROOT, Settings
from studio.domain import BASE, Message, Sampling
from studio.errors import ConflictError, InputError, ModelLoadError, NotFoundError, StudioError
from studio.services.compare import CompareService, PaneChat, row_seed
from studio.services.evaluation_form import EvaluationForm
from studio.services.evaluation_line import SILENT_S
from studio.services.evaluation_rows import parts_left, seed_of
from studio.services.evaluations import NOT_KEPT, EvaluationService, EvaluationStatus
from studio.services.models import ModelService
from studio.services.runs import RunStore
from studio.store import evaluations as store
from studio.store.database import Database
from studio.toxicity import Evaluation, TestPrompt

HOW = Sampling(temperature=1.2, top_p=0.95, max_new_tokens=12, seed=5)
pytestmark = pytest.mark.timeout(300)


class House:
    """The services an evaluation needs, over one folder."""

    def __init__(self, settings: Settings, compare: type[CompareService] = CompareService) -> None:
        self.settings = settings
        self.runs, self.models = RunStore(settings), ModelService(settings)
        self.compare = compare(settings, self.runs, self.models)
        self.toxicity = ScriptedToxicity()
        self.evaluations = self.service()

    def service(self) -> EvaluationService:
        return EvaluationService(self.settings, self.runs, self.models, self.compare, self.toxicity)  # type: ignore[arg-type]

    def close(self) -> None:
        self.toxicity.gate.set()
        self.evaluations.close()
        self.compare.close()

    def done(self, evaluation_id: str, state: str = "done") -> Evaluation:
        wait_until(lambda: not self.evaluations.status(evaluation_id).busy, 240)
        found = self.evaluations.get(evaluation_id)
        assert found.state == state, found.message
        return found

    def database(self) -> Database:
        database = Database(self.settings.store_url)
        database.migrate()
        return database


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    made = House(settings)
    yield made
    made.close()


@pytest.fixture
def quick(settings: Settings) -> Iterator[House]:
    """One whose engine is a script."""
    made = House(settings, ScriptedCompare)
    yield made
    made.close()


def form(*adapters: str, **changes: Any) -> EvaluationForm:
    asked = EvaluationForm(adapters, PROMPTS, "mixed", "scripted", samples=2, sampling=HOW, system_prompt=" Be kind. ")
    return dataclasses.replace(asked, **changes)


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
    assert sum(map(len, house.toxicity.calls)) <= 24
    assert {text for call in house.toxicity.prompts for text in call} <= {prompt.text for prompt in PROMPTS}

    # the same answers as a chat gives with the same seeds; in bf16 only their beginnings are sure to be (ml/decoding.py)
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
    wait_until(lambda: len(house.toxicity.calls) == 2, 120)
    house.toxicity.gate.clear()
    house.evaluations.cancel(name)
    house.toxicity.gate.set()
    first = house.done(name, "cancelled")
    assert 8 <= len(first.rows) < first.total == 32
    status = house.evaluations.status(name)
    assert (status.resumable, status.done) == (True, len(first.rows))
    # all prompts were asked once before any was asked again
    assert {(row.prompt_id, row.sample) for row in first.rows} >= {(prompt.id, 0) for prompt in PROMPTS}
    house.evaluations.cancel(name)  # again: nothing to do

    scored = sum(map(len, house.toxicity.calls))
    house.evaluations.resume(name)
    second = house.done(name)
    assert keys(second) == everything(second)
    before = dict(zip(keys(first), first.rows, strict=True))
    assert all(before.get(key, row) == row for key, row in zip(keys(second), second.rows, strict=True))
    assert sum(map(len, house.toxicity.calls)) - scored <= 2 * (32 - len(first.rows))
    with pytest.raises(ConflictError, match="is done; there is nothing to resume"):
        house.evaluations.resume(name)


KILLED = """
import sys, pathlib
sys.path[:0] = ["tests", "."]
import conftest
from evaluation_helpers import ScriptedCompare
from test_evaluations import House, form
from studio.config import Settings

folder = pathlib.Path(sys.argv[1])
house = House(Settings(adapters_dir=folder / "adapters", imported_dir=folder / "imported", cache_dir=folder / "cache",
    database_url=f"sqlite:///{folder / 'studio.db'}"), ScriptedCompare)
name = house.evaluations.start(form("run-one", samples=50))
print(name, flush=True)
conftest.wait_until(lambda: not house.evaluations.status(name).busy, 240)
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
    quick.toxicity.gate.clear()
    names = [quick.evaluations.start(form("run-one", samples=1, title=title)) for title in "abc"]
    wait_until(lambda: quick.evaluations.status(names[0]).note == "Scoring the answers.", 120)
    assert [quick.evaluations.status(name).ahead for name in names] == [0, 1, 2]
    assert [quick.evaluations.status(name).state for name in names] == ["running", "queued", "queued"]
    quick.evaluations.cancel(names[1])
    assert quick.evaluations.status(names[1]).state == "cancelled"
    assert quick.evaluations.status(names[2]).ahead == 1
    with pytest.raises(ConflictError, match="at work"):
        quick.evaluations.delete(names[2])
    quick.toxicity.gate.set()
    first, third = quick.done(names[0]), quick.done(names[2])
    assert first.updated < third.updated
    assert quick.evaluations.get(names[1]).rows == ()
    assert [one.id for one in quick.evaluations.list()] == [names[2], names[1], names[0]]


# -- what must stay the same --------------------------------------------------------------------------------------------------


def paused(quick: House) -> str:
    """An evaluation cancelled half way."""
    light_run(quick.runs, "run-one")
    name = quick.evaluations.start(form("run-one", samples=50))
    wait_until(lambda: quick.evaluations.status(name).done > 0, 120)
    quick.evaluations.cancel(name)
    quick.done(name, "cancelled")
    return name


def test_another_state_of_adapter_or_scorer_is_refused(quick: House) -> None:
    name = paused(quick)
    quick.toxicity.info = dataclasses.replace(SCORER, revision="r2")
    with pytest.raises(ConflictError, match="its revision was r1, now it is r2"):
        quick.evaluations.resume(name)
    quick.toxicity.info = SCORER
    was = quick.runs.get("run-one").adapter_hash
    quick.runs.delete("run-one")
    with pytest.raises(NotFoundError, match="run-one"):
        quick.evaluations.resume(name)
    light_run(quick.runs, "run-one", b"other weights")
    assert quick.runs.get("run-one").adapter_hash != was
    with pytest.raises(ConflictError, match=f"weights were {was}"):
        quick.evaluations.resume(name)
    assert quick.evaluations.status(name).state == "cancelled"


def test_what_changed_while_it_waited_in_the_line_is_seen(quick: House) -> None:
    light_run(quick.runs, "run-one")
    quick.toxicity.gate.clear()
    first = quick.evaluations.start(form("run-one", samples=1))
    second = quick.evaluations.start(form("run-one", samples=1))
    wait_until(lambda: quick.evaluations.status(first).note == "Scoring the answers.", 120)
    quick.toxicity.info = dataclasses.replace(SCORER, revision="r2")
    # the first goes on under the name it began with; only the second has not begun
    quick.toxicity.gate.set()
    quick.done(first)
    assert "revision was r1" in quick.done(second, "failed").message


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda scorer: setattr(scorer, "fails", ModelLoadError("The scorer's file is gone.")), "file is gone"),
        (lambda scorer: setattr(scorer, "fails", ZeroDivisionError("boom")), "server's log"),
    ],
)
def test_a_broken_scorer_fails_it_with_a_sentence(
    quick: House, spoil: Callable[[ScriptedToxicity], None], sentence: str
) -> None:
    light_run(quick.runs, "run-one")
    spoil(quick.toxicity)
    name = quick.evaluations.start(form("run-one"))
    failed = quick.done(name, "failed")
    assert sentence in failed.message
    assert failed.rows == ()
    quick.toxicity.fails = None
    quick.evaluations.resume(name)
    quick.done(name)


# -- bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"adapters": ()}, "No adapter is chosen"),
        ({"adapters": ("run-one", "run-one")}, "chosen twice"),
        ({"before": "run-one"}, "stands on both sides"),
        ({"prompts": ()}, "There is no prompt"),
        ({"prompts": (TestPrompt("a", " "),)}, "prompt 1 is empty"),
        ({"prompts": (TestPrompt("a", "x\0y"),)}, "NUL"),
        ({"prompts": (TestPrompt("a", "x"), TestPrompt("a", "y"))}, "Two prompts have the id 'a'"),
        ({"prompts": (TestPrompt("a" * 101, "x"),)}, "id of prompt 1"),
        ({"prompts": (TestPrompt("a", "x" * 100_001),)}, "100,001 characters"),
        ({"samples": 0}, "samples is 0"),
        ({"samples": 51}, "samples is 51"),
        ({"samples": 2, "sampling": Sampling(temperature=0)}, "At temperature 0"),
        ({"sampling": Sampling(temperature=9)}, "temperature is 9"),
        ({"scorer": "nobody"}, "There is no scorer 'nobody'"),
        ({"title": "x" * 201}, "title"),
        ({"adapters": ("run-gone",)}, "run-gone"),
        ({"adapters": ("../etc",)}, "run id"),
        ({"prompts": tuple(TestPrompt(str(n), "x") for n in range(500)), "samples": 50}, "25,000 pairs of answers"),
    ],
)
def test_bad_input_gets_one_sentence_and_nothing_is_stored(
    quick: House, changes: dict[str, Any], sentence: str
) -> None:
    light_run(quick.runs, "run-one")
    with pytest.raises(StudioError, match=sentence) as caught:
        quick.evaluations.start(form(**{"adapters": ("run-one",), **changes}))
    assert "\n" not in str(caught.value)
    assert quick.evaluations.list() == ()


def test_what_is_not_there_is_told(quick: House) -> None:
    for call in ("status", "summary", "get", "cancel", "resume", "delete"):
        with pytest.raises(NotFoundError, match="no evaluation 'nothing'"):
            getattr(quick.evaluations, call)("nothing")
    with pytest.raises(NotFoundError):
        quick.evaluations.keep("nothing", True)
    with pytest.raises(InputError, match="title is empty"):
        quick.evaluations.rename("nothing", "  ")


# -- keeping -----------------------------------------------------------------------------------------------------------------


def test_kept_ones_stay_and_of_others_the_newest(quick: House) -> None:
    light_run(quick.runs, "run-one")
    database = quick.database()
    with database.write() as connection:
        for number in range(NOT_KEPT + 5):
            made = make_evaluation(f"{number:016}", created=float(number), rows=(), state="cancelled")
            store.add_evaluation(connection, dataclasses.replace(made, kept=number == 0), "")
    quick.evaluations.rename("0" * 16, " The first ")
    quick.evaluations.keep("0" * 15 + "1", True)
    name = quick.evaluations.start(form("run-one", samples=1))
    listed = quick.evaluations.list()
    assert len(listed) == NOT_KEPT + 2
    assert [one.spec.title for one in listed if one.kept] == ["Before and after", "The first"]
    assert listed[0].id == name
    assert quick.evaluations.summary("0" * 16).kept
    quick.done(name)
    quick.evaluations.delete("0" * 16)
    assert "0" * 16 not in {one.id for one in quick.evaluations.list()}
    database.close()


def test_an_owner_on_another_machine_counts_as_gone_after_long_silence(quick: House) -> None:
    database = quick.database()
    now = time.time()
    with database.write() as connection:
        for number, silent in enumerate((1.0, SILENT_S + 60)):
            made = make_evaluation(str(number) * 16, updated=now - silent, rows=(), state="running")
            store.add_evaluation(connection, made, f"elsewhere-{os.getpid()}|{os.getpid()}|1.0|abcd")
    states = {one.id[0]: one.state for one in quick.evaluations.list()}
    assert states == {"0": "running", "1": "interrupted"}
    database.close()


def test_portions_of_work_leave_out_what_is_there() -> None:
    spec = make_spec()
    whole = [asked for part in parts_left(spec, ()) for asked in part]
    assert whole == [(place, sample) for sample in (0, 1) for place in range(4)]
    assert [len(part) for part in parts_left(spec, ())] == [5, 3]
    there = {(row.adapter, row.prompt_id, row.sample) for row in make_rows(spec)}
    assert list(parts_left(spec, there)) == []
    # one adapter's row is missing: the question is asked again
    there.remove(("run-a", "en-2", 1))
    assert list(parts_left(spec, there)) == [[(1, 1)]]


def test_status_words() -> None:
    status = EvaluationStatus("a", "A", "interrupted", 1, 2)
    assert (status.busy, status.resumable) == (False, True)
