"""The warm trainer: a detached process that waits with torch, trl and peft imported, and forks a worker for each run.

Why a process of its own: it outlives the web server, a kill frees all its memory, and its random state is nobody else's.
Why warm: importing the training libraries takes 4-10 s, a fork of a process that has them takes milliseconds. It holds the
one training slot (an flock on ``.trainer.lock``), takes queued runs oldest first, one at a time, and records what a dead
worker could not record itself. It runs no torch operation: threads do not survive a fork.

Files beside the run folders: ``.trainer.lock`` (held while it lives), ``.trainer.alive`` (written by servers; idle for
``IDLE_EXIT_S`` without that, or at once where the server wrote that it ends, it ends), ``.trainer.log``, ``.notify`` (touched when the queue changed).
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from studio.config import ROOT, Settings, load_settings
from studio.domain.runs import FINAL_STATES, RunState, RunStatus
from studio.errors import StudioError
from studio.services.recipes.queue import ALIVE, RELEASED, try_lock
from studio.services.runs.folder import clear_away, remove_folder
from studio.services.runs.job import read_job
from studio.services.runs.status import DIED, owner_alive, read_status, stop_request, write_status
from studio.services.runs.store import RunStore
from studio.services.worker.process import (
    WorkerProcess,
    cause_of_death,
    create_time,
    kill,
    oom_kills,
    poll,
    prefer_for_oom_kill,
)
from studio.services.worker.run import Train, cold_command, train_run, work
from studio.services.worker.sentences import NO_MEMORY

log = logging.getLogger(__name__)

POLL_S = 0.03
#: How often the queue is read even without a notice (a folder may arrive by copying).
SCAN_S = 5.0
IDLE_EXIT_S = 30.0
#: How old a change of the program's files must be before an idle trainer warms up anew for it.
SETTLED_S = 30.0


class Trainer:
    """The loop of the trainer process.

    Args:
        settings: where the runs lie; what a run may use is in its own ``job.json``.
        train: what a worker does; tests give a scripted one.
        idle_exit_s: seconds without work and without a server's sign of life after which :meth:`run` returns.
    """

    def __init__(self, settings: Settings, train: Train = train_run, idle_exit_s: float = IDLE_EXIT_S) -> None:
        self._settings = settings
        self._runs = RunStore(settings)
        self._train = train
        self._idle_exit_s = idle_exit_s
        self._lock: IO[bytes] | None = None
        self._worker: WorkerProcess | None = None
        self._started = time.time()
        self._notified = -1.0
        self._scanned = 0.0

    def acquire(self) -> bool:
        """Take the training slot; False if another trainer has it."""
        for _ in range(5):  # a server that looks whether the slot is free holds the lock for a moment
            self._lock = try_lock(self._settings.adapters_dir)
            if self._lock is not None:
                return True
            time.sleep(0.02)
        return False

    def run(self) -> str:
        """Serve the queue. Returns why it ended: ``idle`` or ``changed`` (the program's files are newer than this process).

        Call :meth:`acquire` first.
        """
        self._recover()
        while True:
            if self._worker is not None:
                self._watch(self._worker)
            elif self._something_new():
                self._recover()
                if self._worker is None:
                    waiting = self._waiting()
                    if self._outdated(at_once=bool(waiting)):
                        return "changed"
                    if not self._start_first(waiting) and self._idle():
                        return "idle"
            time.sleep(POLL_S)

    def fail_queue(self, message: str) -> None:
        """Give up on everything that waits: this process cannot train."""
        for run_id in self._runs.ids():
            folder = self._settings.adapters_dir / run_id
            with self._runs.queue_lock(), contextlib.suppress(OSError, StudioError):
                if read_status(folder).state == "queued":
                    self._record(folder, "failed", message)

    # -- the queue ----------------------------------------------------------------------------------------------------

    def _something_new(self) -> bool:
        """Whether the queue changed since the last look, or that look is long ago. One stat call most of the time."""
        try:
            notified = (self._settings.adapters_dir / ".notify").stat().st_mtime
        except FileNotFoundError:
            notified = 0.0
        now = time.monotonic()
        if notified == self._notified and now - self._scanned < min(SCAN_S, self._idle_exit_s):
            return False
        self._notified, self._scanned = notified, now
        return True

    def _recover(self) -> None:
        """Adopt the living worker of a killed trainer; record the end of what the dead ones left."""
        for run_id in self._runs.ids():
            folder = self._settings.adapters_dir / run_id
            try:
                status = read_status(folder)
                if status.state in FINAL_STATES:
                    if (folder / "stop.json").exists():
                        self._record_end(folder, None, None)
                elif status.state == "queued":
                    continue
                elif not owner_alive(status):
                    self._record_end(folder, None, None)
                elif self._worker is None:
                    log.info("run %s: its worker %d outlived its trainer; waiting for it", run_id, status.pid)
                    self._worker = self._watched(run_id, folder, status, child=False)
            except FileNotFoundError:
                continue
            except (StudioError, OSError) as error:
                log.warning("run %s cannot be looked after: %s", run_id, error)

    def _waiting(self) -> list[str]:
        """Queued runs, the one that waits longest first."""
        waiting: list[tuple[float, str]] = []
        for run_id in self._runs.ids():
            with contextlib.suppress(OSError, StudioError):
                status = read_status(self._settings.adapters_dir / run_id)
                if status.state == "queued":
                    waiting.append((status.updated, run_id))
        return [run_id for _, run_id in sorted(waiting)]

    def _start_first(self, waiting: list[str]) -> bool:
        """Start the first of these that can be started."""
        return any(self._start(run_id) for run_id in waiting)

    def _outdated(self, at_once: bool) -> bool:
        """Whether the program's files changed since this process read them: it would train with old code. While nothing
        waits, changes are let settle first, as warming up anew costs seconds of processor time."""
        stamp, now = _source_stamp(), time.time()
        # A stamp from the future (a clock set back) would never cease to be newer than this process.
        return self._started < stamp <= now and (at_once or now - stamp > SETTLED_S)

    def _start(self, run_id: str) -> bool:
        folder = self._settings.adapters_dir / run_id
        with self._runs.queue_lock():
            try:
                status = read_status(folder)
                if status.state != "queued":
                    return False
                mine = replace(status, state="running", message="Starting.", pid=os.getpid())
                now = time.time()
                mine = replace(mine, pid_started=create_time(os.getpid()), heartbeat=now, updated=now)
                write_status(folder, mine)
            except (StudioError, OSError) as error:
                log.warning("run %s cannot be started: %s", run_id, error)
                return False
        try:
            pid = self._spawn(folder)
        except OSError as error:  # no memory or no process number left
            log.error("run %s: no worker could be started: %s", run_id, error)
            self._record(folder, "failed", NO_MEMORY)
            return False
        log.info("run %s: worker %d", run_id, pid)
        claimed = replace(mine, pid=pid, pid_started=create_time(pid))
        self._worker = self._watched(run_id, folder, claimed, child=True)
        return True

    def _spawn(self, folder: Path) -> int:
        if sys.platform == "darwin":
            # Forking after Apple's frameworks are loaded crashes the child: there a run starts cold, in a new process.
            return subprocess.Popen(cold_command(folder), cwd=ROOT, start_new_session=True).pid
        gc.collect()
        gc.freeze()  # what is imported by now is never collected, so the child shares its pages with us
        pid = os.fork()
        if pid:
            return pid
        exit_code = 70
        try:
            os.setsid()
            if self._lock is not None:
                self._lock.close()  # our copy: else the slot would look taken while a worker outlives its trainer
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

    def _watched(self, run_id: str, folder: Path, status: RunStatus, child: bool) -> WorkerProcess:
        try:
            kill_after = read_job(folder).settings.kill_after_s
        except (StudioError, OSError):
            kill_after = self._settings.kill_after_s
        return WorkerProcess(run_id, folder, status.pid, status.pid_started, child, kill_after, oom_kills())

    # -- one worker ---------------------------------------------------------------------------------------------------

    def _watch(self, worker: WorkerProcess) -> None:
        ended, exit_status = poll(worker)
        asked = stop_request(worker.folder)
        if not ended:
            if asked is not None and not worker.killed:
                now = time.monotonic()
                worker.kill_at = worker.kill_at or now + worker.kill_after_s
                # Nothing of a discarded run is wanted, so there is no step end worth waiting for.
                if asked.mode == "discard" or now >= worker.kill_at:
                    log.info("run %s: killing worker %d", worker.run_id, worker.pid)
                    worker.killed = True
                    kill(worker.pid)
            return
        self._worker = None
        self._notified = -1.0  # look at the queue at once
        try:
            self._record_end(worker.folder, worker, exit_status)
        except FileNotFoundError:
            log.info("run %s is gone", worker.run_id)
        except (StudioError, OSError):
            log.exception("run %s: its end could not be recorded", worker.run_id)

    def _record_end(self, folder: Path, worker: WorkerProcess | None, exit_status: int | None) -> None:
        """Record the end of a run whose process is gone, unless it did so itself; clear away its requests.

        Under the lock, and looking afresh: it may have written its last word a moment ago, and somebody may be resuming
        it already, in which case its files are not ours any more.
        """
        with self._runs.queue_lock():
            status = read_status(folder)
            asked = stop_request(folder)
            if status.state == "queued":
                return
            if asked is not None and asked.mode == "discard":
                remove_folder(folder)
                return
            if status.state not in FINAL_STATES:
                cause = cause_of_death(worker, exit_status) if worker else ("interrupted", DIED)
                self._record(folder, *cause)
            for name in ("stop.json", "job.json"):
                clear_away(folder / name)

    def _record(self, folder: Path, state: RunState, message: str) -> None:
        log.info("%s: %s", folder.name, message)
        status = read_status(folder)
        write_status(folder, replace(status, state=state, message=message, updated=time.time()))

    def _idle(self) -> bool:
        alive = self._settings.adapters_dir / ALIVE
        try:
            if alive.read_text(encoding="utf-8") == RELEASED:
                return True
            seen = alive.stat().st_mtime
        except FileNotFoundError:
            seen = 0.0
        return time.time() - max(seen, self._started) > self._idle_exit_s


def _cuda_spoiled() -> bool:
    from studio.ml.training.forking import cuda_spoiled_by_fork

    return cuda_spoiled_by_fork()


def _source_stamp() -> float:
    """Newest change of those of the program's files that this process has imported."""
    files = [module.__file__ for name, module in list(sys.modules.items()) if name.split(".")[0] == "studio"]
    stamps = [0.0]
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            stamps.append(os.stat(file).st_mtime if file else 0.0)
    return max(stamps)


def _preload() -> None:
    from studio.ml.detox import run as detox
    from studio.ml.dpo import run as dpo
    from studio.ml.kto import run as kto
    from studio.ml.reward import run as reward

    dpo.preload()
    kto.preload()
    reward.preload()
    detox.preload()


def main(train: Train = train_run, preload: Callable[[], None] = _preload, idle_exit_s: float = IDLE_EXIT_S) -> None:
    """Entry of ``python -m studio.services.worker.trainer``; settings come from ``STUDIO_*`` variables."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s: %(message)s")
    trainer = Trainer(load_settings(), train, idle_exit_s)
    if not trainer.acquire():
        return
    began = time.monotonic()
    try:
        preload()
    except ImportError as error:
        trainer.fail_queue(
            f"The training libraries cannot be imported ({error}); install requirements.txt, then resume."
        )
        raise
    log.info("warm after %.1f s", time.monotonic() - began)
    why = trainer.run()
    log.info("ending: %s", why)
    if why == "changed":
        os.execv(sys.executable, [sys.executable, "-m", "studio.services.worker.trainer"])


if __name__ == "__main__":
    main()
