"""Runs on this machine: one at a time, each in a process forked from the warm trainer."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import IO

from studio.config import ROOT, Settings
from studio.domain.runs import FINAL_STATES, RunStatus
from studio.errors import StudioError
from studio.services.runs.job import read_job
from studio.services.runs.status import StopRequest, owner_alive, read_status, write_status
from studio.services.runs.store import RunStore
from studio.services.worker.compute import End
from studio.services.worker.process import (
    WorkerProcess,
    cause_of_death,
    create_time,
    kill,
    oom_kills,
    owned,
    poll,
    prefer_for_oom_kill,
)
from studio.services.worker.run import Train, cold_command, train_run, work

log = logging.getLogger(__name__)


class LocalCompute:
    """One worker at a time.

    Args:
        train: what a worker does; tests give a scripted one.
        slot: the trainer's lock, which a worker must not keep.
        cold: start a worker in a new process instead of forking. Forking after Apple's frameworks are loaded crashes the child, and a
            server has threads and, with ZeroGPU, a torch that only pretends to have a GPU.
    """

    poll_s = 0.03

    def __init__(
        self, settings: Settings, train: Train, slot: IO[bytes], cold: bool = sys.platform == "darwin"
    ) -> None:
        self._settings = settings
        self._runs = RunStore(settings)
        self._train = train
        self._slot = slot
        self._cold = cold
        self._worker: WorkerProcess | None = None

    def taken(self) -> Collection[str]:
        """The run at work, if there is one."""
        return [self._worker.run_id] if self._worker else []

    def free(self) -> bool:
        """Whether none is at work."""
        return self._worker is None

    def submit(self, run_id: str) -> bool:
        """Start a queued run.

        Raises:
            OSError: no memory or no process number is left. StudioError: the folder cannot be read.
        """
        folder = self._settings.adapters_dir / run_id
        with self._runs.queue_lock():
            status = read_status(folder)
            if status.state != "queued":
                return False
            mine = replace(status, state="running", message="Starting.", **owned())
            write_status(folder, mine)
        pid = self._spawn(folder)
        log.info("run %s: worker %d", run_id, pid)
        self._watch(run_id, replace(mine, pid=pid, pid_started=create_time(pid)), child=True)
        return True

    def adopt(self, run_id: str, status: RunStatus) -> bool:
        """Wait for a worker that outlived its trainer."""
        if not owner_alive(status):
            return False
        if self._worker is None:
            log.info("run %s: its worker %d outlived its trainer; waiting for it", run_id, status.pid)
            self._watch(run_id, status, child=False)
        return True

    def stop(self, run_id: str, asked: StopRequest) -> None:
        """The worker sees the request itself; one that does not obey is killed."""
        worker = self._worker
        if worker is None or worker.killed:
            return
        now = time.monotonic()
        worker.kill_at = worker.kill_at or now + worker.kill_after_s
        # Nothing of a discarded run is wanted, so there is no step end worth waiting for.
        if asked.mode == "discard" or now >= worker.kill_at:
            self._kill(worker)

    def state(self, run_id: str) -> End | None:
        """How the worker ended, once it did."""
        worker = self._worker
        assert worker is not None, "only runs in its hands are asked for"
        ended, exit_status = poll(worker)
        if not ended and not (not worker.child and self._last_word(worker)):
            return None
        self._worker = None
        return End(*cause_of_death(worker, exit_status))

    def close(self, abandon: bool) -> None:
        """A worker outlives its trainer; an abandoned one is killed."""
        if abandon and self._worker is not None:
            self._kill(self._worker)

    def _kill(self, worker: WorkerProcess) -> None:
        log.info("run %s: killing worker %d", worker.run_id, worker.pid)
        worker.killed = True
        kill(worker.pid)

    def _last_word(self, worker: WorkerProcess) -> bool:
        """Whether an adopted run has ended though its process lives: a cluster's writer has many runs."""
        try:
            return read_status(worker.folder).state in FINAL_STATES
        except (FileNotFoundError, StudioError):
            return True

    def _spawn(self, folder: Path) -> int:
        if self._cold:
            return subprocess.Popen(cold_command(folder), cwd=ROOT, start_new_session=True).pid
        gc.collect()
        gc.freeze()  # what is imported by now is never collected, so the child shares its pages with us
        pid = os.fork()
        if pid:
            return pid
        exit_code = 70
        try:
            os.setsid()
            self._slot.close()  # our copy: else the slot would look taken while a worker outlives its trainer
            prefer_for_oom_kill()
            if self._train is train_run and _cuda_spoiled():
                os.execv(sys.executable, cold_command(folder))
            exit_code = work(folder, self._train)
        except BaseException:
            log.exception("the worker failed outside of its run")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(exit_code)

    def _watch(self, run_id: str, status: RunStatus, child: bool) -> None:
        folder = self._settings.adapters_dir / run_id
        try:
            kill_after = read_job(folder).settings.kill_after_s
        except (StudioError, OSError):
            kill_after = self._settings.kill_after_s
        self._worker = WorkerProcess(run_id, folder, status.pid, status.pid_started, child, kill_after, oom_kills())


def _cuda_spoiled() -> bool:
    from studio.ml.training.forking import cuda_spoiled_by_fork

    return cuda_spoiled_by_fork()
