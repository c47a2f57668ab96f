"""The trainer process: queue, kill, orphans. What holds of a cluster too is in test_compute.py.
Workers play a script (tests/helpers/scripted_trainer.py), so seconds suffice."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from studio.config import ROOT, Settings
from studio.domain.runs import RunStatus
from studio.services.recipes.queue import ensure_trainer, release_trainer, trainer_environment
from studio.services.runs.status import read_status, write_status
from studio.services.runs.store import RunStore
from studio.services.worker import trainer
from studio.services.worker.local import LocalCompute
from studio.services.worker.run import cold_command
from tests.helpers.runs import queue, scripted
from tests.helpers.scripted_trainer import play
from tests.helpers.waiting import wait_until


@pytest.fixture
def store(settings: Settings) -> Iterator[RunStore]:
    store = RunStore(settings)
    yield store
    for run_id in store.ids():  # no worker may outlive its test
        status = read_status(settings.adapters_dir / run_id)
        if status.state == "running" and psutil.pid_exists(status.pid):
            os.kill(status.pid, signal.SIGKILL)


def state(store: RunStore, run_id: str) -> str:
    return store.status(run_id).state


def wait_state(store: RunStore, run_id: str, *states: str) -> None:
    wait_until(lambda: state(store, run_id) in states)


def test_runs_are_done_first_in_first_out_one_at_a_time(settings: Settings, store: RunStore) -> None:
    for name in ("zeta", "alpha", "middle"):
        queue(settings, name, "steps=3 pause=0.05")
    with scripted(settings):
        wait_state(store, "middle", "done")
    order = (settings.adapters_dir / "order.txt").read_text().split()[::2]
    assert order == ["zeta", "alpha", "middle"]
    views = {view.run_id: view for view in store.list()}
    ends = [views[name].status.updated for name in order]
    begins = [views[name].status.updated - views[name].status.seconds for name in order]
    assert begins[1] >= ends[0] - 0.05
    assert begins[2] >= ends[1] - 0.05
    view = views["zeta"]
    assert view.has_adapter
    assert view.last_step is not None
    assert view.last_step.step == 3
    assert view.probe is not None
    assert view.probe.share == 0.9
    assert view.adapter_share is not None
    assert view.adapter_share.n == 18
    assert "hello from the script" in store.log_tail("zeta")
    assert not (view.folder / "job.json").exists()
    assert "of 3: loss" in (view.folder / "README.md").read_text(), "a run that reads done has its card"


def test_a_waiting_trainer_looks_at_the_queue_when_a_run_comes(
    settings: Settings, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = unstarted(settings)
    monkeypatch.setattr(trainer, "SCAN_S", 60.0)
    assert waiting._something_new(), "the first look"
    assert not waiting._something_new(), "nothing came since"
    queue(settings, "second")
    assert waiting._something_new()
    assert not waiting._something_new()


def test_a_run_queued_while_the_trainer_waits_is_done(settings: Settings, store: RunStore) -> None:
    with scripted(settings):
        for name in ("first", "second"):
            queue(settings, name, "steps=1")
            wait_state(store, name, "done")


def test_a_run_killed_while_measuring_keeps_its_adapter(settings: Settings, store: RunStore) -> None:
    queue(dataclasses.replace(settings, kill_after_s=0.2), "aaa", "steps=2 then=sleep:60")
    with scripted(settings):
        wait_until(lambda: store.status("aaa").step == 2)
        store.stop("aaa", "keep")
        wait_state(store, "aaa", "stopped")
    assert "measured" in store.status("aaa").message
    assert store.get("aaa").has_adapter


def test_a_killed_worker_reads_interrupted_and_the_queue_goes_on(settings: Settings, store: RunStore) -> None:
    queue(settings, "aaa", "steps=1000 pause=0.05")
    queue(settings, "bbb", "steps=1")
    with scripted(settings):
        wait_until(lambda: store.events("aaa")[0])
        os.kill(read_status(settings.adapters_dir / "aaa").pid, signal.SIGKILL)
        wait_until(lambda: read_status(settings.adapters_dir / "aaa").state == "interrupted")
        wait_state(store, "bbb", "done")


def test_a_second_trainer_finds_the_slot_taken(settings: Settings, store: RunStore) -> None:
    with scripted(settings) as first, scripted(settings) as second:
        assert second.wait(60) == 0
        assert first.poll() is None


def test_a_worker_that_outlives_its_trainer_is_waited_for(settings: Settings, store: RunStore) -> None:
    queue(settings, "aaa", "steps=60 pause=0.05")
    queue(settings, "bbb", "steps=1")
    with scripted(settings) as first:
        wait_until(lambda: store.events("aaa")[0])
        first.kill()
        first.wait(30)
        pid = read_status(settings.adapters_dir / "aaa").pid
        assert state(store, "aaa") == "running"
        with scripted(settings) as second:
            wait_until(lambda: "outlived its trainer" in (settings.adapters_dir / ".trainer.log").read_text())
            assert second.poll() is None
            assert read_status(settings.adapters_dir / "aaa").pid == pid
            wait_state(store, "bbb", "done")
            assert state(store, "aaa") == "done"
    order = (settings.adapters_dir / "order.txt").read_text().split()[::2]
    assert order == ["aaa", "bbb"]
    assert [e.step for e in store.events("aaa")[0] if e.type == "step"] == list(range(1, 61))


def test_an_orphan_can_be_discarded(settings: Settings, store: RunStore) -> None:
    queue(settings, "aaa", "steps=1000 pause=0.05")
    with scripted(settings) as first:
        wait_until(lambda: store.events("aaa")[0])
        first.kill()
        first.wait(30)
    with scripted(settings):
        store.stop("aaa", "discard")
        wait_until(lambda: "aaa" not in store.ids())


def test_dead_runs_are_recorded_when_a_trainer_starts(settings: Settings, store: RunStore) -> None:
    folder = queue(settings, "aaa")
    now = time.time()
    write_status(folder, RunStatus("running", pid=2**22 - 3, pid_started=1.0, heartbeat=now, updated=now))
    assert state(store, "aaa") == "interrupted"
    with scripted(settings):
        wait_until(lambda: read_status(folder).state == "interrupted")
    assert "Resume" in store.status("aaa").message


def test_an_idle_trainer_that_nobody_wants_ends(settings: Settings, store: RunStore) -> None:
    with scripted(settings, idle_exit_s=0.5) as process:
        assert process.wait(60) == 0


def test_an_idle_trainer_ends_with_its_server(settings: Settings, store: RunStore) -> None:
    with scripted(settings) as process:
        release_trainer(settings)
        began = time.monotonic()
        assert process.wait(60) == 0
        assert time.monotonic() - began < 10  # an idle one waits for a server for 120 s here


def test_ensure_trainer_starts_nothing_while_one_lives(
    settings: Settings, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(settings), monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda *args, **options: pytest.fail("a second trainer is started"))
        ensure_trainer(settings)


def test_the_trainers_environment_has_limits_but_no_password(settings: Settings, tmp_path: Path) -> None:
    env = trainer_environment(dataclasses.replace(settings, admin_password="secret", train_threads=3))
    assert env["OMP_WAIT_POLICY"] == "PASSIVE"
    assert env["OMP_NUM_THREADS"] == "3"
    assert "secret" not in env.values()
    assert env["STUDIO_ADAPTERS_DIR"] == str(settings.adapters_dir)


def test_a_worker_can_also_start_cold(settings: Settings, store: RunStore, tmp_path: Path) -> None:
    """Where a fork cannot train. The run's base is missing here, so that the real thing ends before torch is needed."""
    folder = queue(dataclasses.replace(settings, data_dir=tmp_path / "nothing"), "aaa")
    done = subprocess.run(cold_command(folder), cwd=ROOT, env=trainer_environment(settings), timeout=120)
    assert done.returncode == 0
    status = store.status("aaa")
    assert status.state == "failed"
    assert "embedded base is missing" in status.message
    assert status.seconds > 0


def test_a_trainer_older_than_the_program_steps_aside_before_the_next_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged = unstarted(settings)
    now = time.time()
    aged._started = now - 1
    for stamp, at_once, wanted in (
        (now - 60, True, False),  # changed before this process began
        (now - 0.5, True, True),
        (now - 0.5, False, False),  # nothing waits: let the change settle
        (now + 3600, True, False),  # a clock set back
    ):
        monkeypatch.setattr(trainer, "_source_stamp", lambda stamp=stamp: stamp)
        assert aged._outdated(at_once) is wanted
    monkeypatch.undo()
    assert trainer._source_stamp() == max(Path(m.__file__).stat().st_mtime for m in studio_modules())


def unstarted(settings: Settings) -> trainer.Trainer:
    slot = trainer.hold_slot(settings.adapters_dir)
    assert slot is not None
    return trainer.Trainer(settings, LocalCompute(settings, play, slot))


def studio_modules() -> list[Any]:
    return [m for name, m in sys.modules.items() if name.split(".")[0] == "studio" and m.__file__]
