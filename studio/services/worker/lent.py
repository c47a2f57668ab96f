"""Runs on a GPU of ZeroGPU: each is one GPU call of the server's process. Where it is to do without, it is trained on the CPU in a process of
its own.

A run stays queued until its call begins, so that one may be taken out of the queue meanwhile.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from studio.config import ZEROGPU, Settings
from studio.domain.runs import FINAL_STATES, RunStatus
from studio.errors import GpuRefusedError, StudioError
from studio.ml.zerogpu import gpu_call, gpu_refusals
from studio.services.runs.job import Job, read_job
from studio.services.runs.outlook import outlook
from studio.services.runs.status import StopRequest, read_status, write_status
from studio.services.runs.store import RunStore
from studio.services.worker.compute import End
from studio.services.worker.local import LocalCompute
from studio.services.worker.process import WorkerProcess, cause_of_death, kill, oom_kills, owned
from studio.services.worker.run import Train, train_run, work
from studio.services.worker.trainer import Trainer, hold_slot, preload_training

log = logging.getLogger(__name__)

Asker = Callable[[str], contextvars.Context]


@dataclass
class _Call:
    """A GPU call: what carries it, what came of it, when to kill its process. ``queued`` is when its run was queued."""

    run_id: str
    kill_after_s: float
    queued: float
    thread: threading.Thread | None = None
    refused: str = ""
    worker: WorkerProcess | None = None
    kill_at: float = 0.0


class LentCompute:
    """See :class:`studio.services.worker.compute.Compute`. To be made before the page is served: ``spaces`` wants to know its functions.

    Args:
        train: what a run does; tests give a scripted one.
        asker: the context of the request that asked for a run, to whose sender the GPU is charged.
    """

    poll_s = 0.1

    def __init__(self, settings: Settings, train: Train = train_run, asker: Asker = lambda _: contextvars.Context()):
        self._settings, self._train, self._asker = settings, train, asker
        self._runs = RunStore(settings)
        self._call: _Call | None = None
        self._slot: IO[bytes] | None = None
        self._cpu: LocalCompute | None = None
        self._carry_out = gpu_call(self._begin)

    def hold(self, slot: IO[bytes]) -> None:
        """Take the trainer's lock, without which nothing is carried out."""
        self._slot, self._cpu = slot, LocalCompute(self._settings, self._train, slot, cold=True)

    @property
    def _local(self) -> LocalCompute:
        assert self._cpu is not None, "the trainer's lock is held"
        return self._cpu

    def taken(self) -> Collection[str]:
        """The run that has a GPU or waits for one, and one on the CPU."""
        return [*([self._call.run_id] if self._call else []), *self._local.taken()]

    def free(self) -> bool:
        """Whether there is none."""
        return self._call is None and self._local.free()

    def submit(self, run_id: str) -> bool:
        """Ask for a GPU for a queued run, or begin it on the CPU where its settings say so.

        Raises:
            StudioError: its folder cannot be read. OSError: no process can be made.
        """
        folder = self._settings.adapters_dir / run_id
        job = read_job(folder)
        if job.settings.device != ZEROGPU:
            return self._local.submit(run_id)
        with self._runs.queue_lock():
            status = read_status(folder)
            if status.state != "queued":
                return False
            seconds = self._seconds(job, status)
            write_status(folder, replace(status, message=f"Waiting for a GPU for {seconds} s."))
        self._call = call = _Call(run_id, job.settings.kill_after_s, status.updated)
        context = self._asker(run_id)
        call.thread = threading.Thread(
            target=context.run, args=(self._ask, call, seconds), name="gpu-call", daemon=True
        )
        call.thread.start()
        return True

    def adopt(self, run_id: str, status: RunStatus) -> bool:
        """Wait for a process that outlived its server."""
        return self._local.adopt(run_id, status)

    def stop(self, run_id: str, asked: StopRequest) -> None:
        """The run sees the request itself; one that does not obey is killed, and its GPU call with it."""
        call = self._call
        if call is None or call.run_id != run_id:
            self._local.stop(run_id, asked)
            return
        if call.worker is None or call.worker.killed:
            return
        now = time.monotonic()
        call.kill_at = call.kill_at or now + call.worker.kill_after_s
        if asked.mode == "discard" or now >= call.kill_at:
            log.info("run %s: killing the process of its GPU call, %d", run_id, call.worker.pid)
            call.worker.killed = True
            kill(call.worker.pid)

    def state(self, run_id: str) -> End | None:
        """How the call ended, once it did; it is let go of at once where the run left the queue."""
        call = self._call
        if call is None or call.run_id != run_id:
            return self._local.state(run_id)
        folder = self._settings.adapters_dir / run_id
        try:
            status = read_status(folder)
        except (FileNotFoundError, StudioError):
            status = RunStatus("stopped")
        if status.state == "running" and call.worker is None:
            call.worker = WorkerProcess(
                run_id, folder, status.pid, status.pid_started, False, call.kill_after_s, oom_kills()
            )
        assert call.thread is not None
        if call.thread.is_alive() and status.state not in FINAL_STATES:
            return None
        self._call = None
        if status.state in FINAL_STATES:
            return End(status.state, status.message)
        if call.worker is not None and (call.worker.killed or oom_kills() > call.worker.oom_kills):
            return End(*cause_of_death(call.worker, None))
        return End("failed", call.refused or "The GPU call ended before the run did; see the log.")

    def close(self, abandon: bool) -> None:
        """The process of a GPU call ends with the server; one on the CPU outlives it unless it is to be ``abandon``\\ ed."""
        self._local.close(abandon)

    # -- within -------------------------------------------------------------------------------------------------------

    def _seconds(self, job: Job, status: RunStatus) -> int:
        """For how long a GPU is asked for: as the form said, less the steps that are taken already."""
        recipe = job.recipe
        assert recipe.settings is not None, "an uploaded adapter is never queued"
        known = outlook(
            recipe.settings, recipe.lora, recipe.data_size, recipe.base.id, "", self._runs.list(), lent=True
        )
        left = None if known.steps is None else max(1, known.steps - status.step)
        return replace(known, steps=left).call_seconds

    def _ask(self, call: _Call, seconds: int) -> None:
        try:
            with gpu_refusals():
                self._carry_out(seconds, str(self._settings.adapters_dir / call.run_id))
        except GpuRefusedError as error:
            log.info("run %s: %s", call.run_id, error)
            call.refused = f"{error} Resume asks again; “Train on the CPU” does without."
            self._take_out(call)

    def _take_out(self, call: _Call) -> None:
        """A run that never began leaves the queue; it would be asked for again and again."""
        folder = self._settings.adapters_dir / call.run_id
        with self._runs.queue_lock(), contextlib.suppress(FileNotFoundError):
            status = read_status(folder)
            if status.state == "queued" and status.updated == call.queued:
                write_status(folder, replace(status, state="failed", message=call.refused, updated=time.time()))

    def _begin(self, seconds: int, folder: str) -> None:
        """In the process that has the GPU: carry the run out, unless it left the queue or began elsewhere meanwhile."""
        if self._slot is not None:
            self._slot.close()  # our copy: else the slot would look taken while this process outlives its server
            self._slot = None
        path = Path(folder)
        with self._runs.queue_lock():
            try:
                status = read_status(path)
            except FileNotFoundError:
                return
            if status.state != "queued":
                return
            write_status(path, replace(status, state="running", message="Starting.", **owned()))
        work(path, self._with_gpu, seconds)

    def _with_gpu(self, job: Job, *reporting: Any) -> Any:
        return self._train(replace(job, settings=replace(job.settings, device="auto")), *reporting)


class LentTrainer:
    """Serves the queue in a thread of the server, since a GPU is lent to that process alone."""

    def __init__(self, settings: Settings, compute: LentCompute) -> None:
        self._settings, self._compute = settings, compute
        self._thread: threading.Thread | None = None

    def preload(self) -> None:
        """Import what trainings need, before any GPU call: one that forks while a thread imports would wait for that for ever."""
        preload_training()

    def ensure(self) -> None:
        """Begin, unless it is at work."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self.serve, name="lent-trainer", daemon=True)
            self._thread.start()

    def serve(self) -> None:
        """Serve the queue until the server leaves."""
        slot = hold_slot(self._settings.adapters_dir)
        if slot is None:
            log.warning("another process serves the queue of %s", self._settings.adapters_dir)
            return
        with slot:
            self._compute.hold(slot)
            while Trainer(self._settings, self._compute, idle_exit_s=float("inf")).run() == "changed":
                pass
