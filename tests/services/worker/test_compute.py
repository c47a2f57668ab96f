"""What holds wherever runs are carried out: on this machine, on a Ray cluster, in GPU calls of ZeroGPU. Workers play a script."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from studio.config import ZEROGPU, Settings
from studio.services.runs.status import read_status
from studio.services.runs.store import RunStore
from tests.helpers.runs import queue, scripted
from tests.helpers.services import settings_in
from tests.helpers.waiting import wait_until
from tests.helpers.zerogpu import zerogpu

Place = tuple[Settings, RunStore]


@pytest.fixture(scope="module", params=["local", "ray", "zerogpu"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp(request.param)
    changes: dict[str, Any] = {}
    if request.param == "ray":
        changes = {
            "ray_address": request.getfixturevalue("cluster").address,
            "ray_node_dir": str(folder / "node"),
        }
    with contextlib.ExitStack() as open_until_the_end:
        if request.param == "zerogpu":
            changes["device"] = ZEROGPU
            open_until_the_end.enter_context(zerogpu())
        settings = settings_in(folder, **changes)
        open_until_the_end.enter_context(scripted(settings))
        yield settings, RunStore(settings)


def wait_state(store: RunStore, run_id: str, state: str) -> None:
    wait_until(lambda: store.status(run_id).state == state, 120)


def test_a_run_brings_everything_into_its_folder(place: Place) -> None:
    settings, store = place
    queue(settings, "whole", "steps=3")
    wait_state(store, "whole", "done")
    view = store.get("whole")
    assert view.has_adapter
    assert (view.folder / "adapter_model.safetensors").read_bytes() == b"whole"
    assert [event.step for event in store.events("whole")[0] if event.type == "step"] == [1, 2, 3]
    assert view.adapter_share is not None
    assert [sample.answer for sample in store.samples("whole")] == ["Yes."]
    assert "hello from the script" in store.log_tail("whole")
    assert (view.folder / "checkpoint" / "step.json").read_text() == "2"
    assert "of 3: loss" in (view.folder / "README.md").read_text()
    assert view.status.seconds > 0
    wait_until(lambda: not (view.folder / "job.json").exists())
    assert not list(view.folder.glob(".*")), "nothing half-written"


def test_stop_and_keep_then_resume_goes_on_from_the_checkpoint(place: Place) -> None:
    settings, store = place
    queue(settings, "stopped", "steps=40 pause=0.05")
    wait_until(lambda: len(store.events("stopped")[0]) >= 5, 120)
    store.stop("stopped", "keep")
    wait_state(store, "stopped", "stopped")
    stopped = store.get("stopped")
    assert stopped.has_adapter
    assert "on request at step" in stopped.status.message
    wait_until(lambda: not (stopped.folder / "stop.json").exists())
    store.resume("stopped")
    wait_state(store, "stopped", "done")
    steps = [event.step for event in store.events("stopped")[0] if event.type == "step"]
    assert sorted(set(steps)) == list(range(1, 41))
    assert len(steps) <= 41, "one step after the last checkpoint is trained again, no more"
    assert store.status("stopped").seconds > stopped.status.seconds


def test_stop_and_discard_removes_the_run_and_the_next_is_done(place: Place) -> None:
    settings, store = place
    queue(settings, "unwanted", "steps=1000 pause=0.05 deaf=1")
    wait_until(lambda: store.events("unwanted")[0], 120)
    store.stop("unwanted", "discard")
    queue(settings, "after", "steps=1")
    wait_until(lambda: "unwanted" not in store.ids(), 120)
    wait_state(store, "after", "done")
    assert not list(settings.adapters_dir.glob(".trash-*"))


def test_a_run_that_does_not_stop_is_killed_after_the_time_out(place: Place) -> None:
    settings, store = place
    queue(dataclasses.replace(settings, kill_after_s=0.5), "deaf", "steps=1000 pause=0.05 deaf=1")
    wait_until(lambda: store.events("deaf")[0], 120)
    store.stop("deaf", "keep")
    wait_until(lambda: read_status(settings.adapters_dir / "deaf").state == "interrupted", 120)
    assert "within 0.5 s" in store.status("deaf").message


FAILURES = {
    "raise:MemoryError": "not enough memory",
    "raise:RuntimeError": "not enough memory",
    "raise:NoSpace": "disk is full",
    "raise:NaN": "The loss became NaN at step 3; try a lower learning rate.",
    "raise:KeyError": "nobody foresaw (KeyError: 'surprise'); its log",
    "signal:SIGSEGV": "crashed (SIGSEGV)",
    "exit:7": "exit code 7",
}


def test_a_failed_run_says_why_in_one_sentence(place: Place) -> None:
    settings, store = place
    ids = [f"failed-{number}" for number in range(len(FAILURES))]
    for run_id, then in zip(ids, FAILURES, strict=True):
        queue(settings, run_id, f"steps=3 then={then}")
    for run_id, (then, sentence) in zip(ids, FAILURES.items(), strict=True):
        wait_state(store, run_id, "failed")
        message = store.status(run_id).message
        if settings.device == ZEROGPU and ":" in then and then.split(":")[0] in ("signal", "exit"):
            sentence = "GPU task aborted"  # what became of the process is not told
        assert sentence in message
        assert "\n" not in message
        if then == "raise:KeyError":
            assert "Traceback" in store.log_tail(run_id)


def test_a_run_stopped_in_the_queue_does_not_begin(place: Place) -> None:
    settings, store = place
    for name in ("front-1", "front-2"):
        queue(settings, name, "steps=1000 pause=0.05")
    queue(settings, "behind", "steps=1")
    wait_until(lambda: store.events("front-1")[0], 120)
    store.stop("behind", "keep")
    for name in ("front-1", "front-2"):
        store.stop(name, "discard")
    queue(settings, "last", "steps=1")
    wait_state(store, "last", "done")
    assert store.status("behind").state == "stopped"
    assert not store.events("behind")[0]
