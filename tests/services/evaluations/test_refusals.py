"""Evaluations that meet with change and bad input: what must stay the same, what is refused, what is kept and for how long."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from studio.domain.chat import Sampling
from studio.domain.toxicity import TestPrompt
from studio.errors import ConflictError, InputError, ModelLoadError, NotFoundError, StudioError
from studio.services.evaluations.rows import parts_left
from studio.services.evaluations.service import NOT_KEPT, EvaluationStatus
from studio.services.jobs import SILENT_S
from studio.store import evaluations as store
from tests.helpers.evaluation_services import House, form
from tests.helpers.evaluations import (
    SCORER,
    ScriptedScoring,
    light_run,
    make_evaluation,
    make_rows,
    make_spec,
)
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


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
    quick.scoring.info = dataclasses.replace(SCORER, revision="r2")
    with pytest.raises(ConflictError, match="its revision was r1, now it is r2"):
        quick.evaluations.resume(name)
    quick.scoring.info = SCORER
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
    quick.scoring.gate.clear()
    first = quick.evaluations.start(form("run-one", samples=1))
    second = quick.evaluations.start(form("run-one", samples=1))
    wait_until(lambda: quick.evaluations.status(first).note == "Scoring the answers.", 120)
    quick.scoring.info = dataclasses.replace(SCORER, revision="r2")
    # the first goes on under the name it began with; only the second has not begun
    quick.scoring.gate.set()
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
    quick: House, spoil: Callable[[ScriptedScoring], None], sentence: str
) -> None:
    light_run(quick.runs, "run-one")
    spoil(quick.scoring)
    name = quick.evaluations.start(form("run-one"))
    failed = quick.done(name, "failed")
    assert sentence in failed.message
    assert failed.rows == ()
    quick.scoring.fails = None
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
