"""The warm trainer: a detached process that waits with torch, trl and peft imported, and forks a worker for each run.

Why a process of its own: it outlives the web server, a kill frees all its memory, and its random state is nobody else's.
Why warm: importing the training libraries takes 4-10 s, a fork of a process that has them takes milliseconds. It holds the
one training slot (an flock on ``.trainer.lock``), hands queued runs on, oldest first, as soon as its :class:`Compute` takes one,
and records what a dead worker could not record itself. It runs no torch operation: threads do not survive a fork.

Files beside the run folders: ``.trainer.lock`` (held while it lives), ``.trainer.alive`` (written by servers; idle for
``IDLE_EXIT_S`` without that, or at once where the server wrote that it ends, it ends), ``.trainer.log``, ``.notify`` (touched when the queue changed).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from studio.config import Settings, load_settings
from studio.domain.runs import FINAL_STATES, RunState
from studio.errors import StudioError
from studio.services.recipes.queue import ALIVE, RELEASED, TRAINER, try_lock
from studio.services.runs.folder import clear_away, remove_folder
from studio.services.runs.status import DIED, read_status, stop_request, write_status
from studio.services.runs.store import RunStore
from studio.services.worker.compute import Compute, End
from studio.services.worker.local import LocalCompute
from studio.services.worker.run import Train, train_run
from studio.services.worker.sentences import NO_MEMORY

log = logging.getLogger(__name__)

#: How often the queue is read even without a notice (a folder may arrive by copying).
SCAN_S = 5.0
IDLE_EXIT_S = 30.0
#: How old a change of the program's files must be before an idle trainer warms up anew for it.
SETTLED_S = 30.0


class Trainer:
    """The loop of the trainer process, which holds the training slot.

    Args:
        settings: where the runs lie; what a run may use is in its own ``job.json``.
        compute: who carries runs out.
        idle_exit_s: seconds without work and without a server's sign of life after which :meth:`run` returns.
        parent: number of the process that this one must not outlive; 0: it stands alone.
    """

    def __init__(self, settings: Settings, compute: Compute, idle_exit_s: float = IDLE_EXIT_S, parent: int = 0) -> None:
        self._settings = settings
        self._runs = RunStore(settings)
        self._compute = compute
        self._idle_exit_s = idle_exit_s
        self._parent = parent
        self._started = time.time()
        self._notified = -1.0
        self._scanned = 0.0

    def run(self) -> str:
        """Serve the queue. Returns why it ended: ``idle``, ``changed`` (the program's files are newer than this process) or ``orphaned``
        (the process it belongs to is gone)."""
        self._recover()
        while True:
            if self._parent and os.getppid() != self._parent:
                return "orphaned"
            for run_id in list(self._compute.taken()):
                self._watch(run_id)
            if self._compute.free() and self._something_new():
                self._recover()
                waiting = self._waiting()
                if self._outdated(at_once=bool(waiting)):
                    return "changed"
                for run_id in waiting:
                    if self._compute.free():
                        self._submit(run_id)
                if not self._compute.taken() and self._idle():
                    return "idle"
            time.sleep(self._compute.poll_s)

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
        """Look after the runs that a killed trainer left; record the end of what is dead."""
        for run_id in self._runs.ids():
            folder = self._settings.adapters_dir / run_id
            try:
                status = read_status(folder)
                if status.state == "queued" or run_id in self._compute.taken():
                    continue
                if status.state in FINAL_STATES:
                    if (folder / "stop.json").exists():
                        self._record_end(folder, End(status.state, status.message))
                elif not self._compute.adopt(run_id, status):
                    self._record_end(folder, End("interrupted", DIED))
            except FileNotFoundError:
                continue
            except (StudioError, OSError) as error:
                log.warning("run %s cannot be looked after: %s", run_id, error)

    def _waiting(self) -> list[str]:
        """Queued runs that nobody has taken, the one that waits longest first."""
        waiting: list[tuple[float, str]] = []
        taken = set(self._compute.taken())
        for run_id in self._runs.ids():
            with contextlib.suppress(OSError, StudioError):
                status = read_status(self._settings.adapters_dir / run_id)
                if status.state == "queued" and run_id not in taken:
                    waiting.append((status.updated, run_id))
        return [run_id for _, run_id in sorted(waiting)]

    def _outdated(self, at_once: bool) -> bool:
        """Whether the program's files changed since this process read them: it would train with old code. While nothing
        waits, changes are let settle first, as warming up anew costs seconds of processor time."""
        stamp, now = _source_stamp(), time.time()
        # A stamp from the future (a clock set back) would never cease to be newer than this process.
        return self._started < stamp <= now and (at_once or now - stamp > SETTLED_S)

    def _submit(self, run_id: str) -> None:
        folder = self._settings.adapters_dir / run_id
        try:
            self._compute.submit(run_id)
        except (StudioError, FileNotFoundError) as error:
            log.warning("run %s cannot be started: %s", run_id, error)
        except OSError as error:  # no memory or no process number left
            log.error("run %s: no worker could be started: %s", run_id, error)
            self._record(folder, "failed", NO_MEMORY)

    # -- one run ------------------------------------------------------------------------------------------------------

    def _watch(self, run_id: str) -> None:
        folder = self._settings.adapters_dir / run_id
        end = self._compute.state(run_id)
        if end is None:
            asked = stop_request(folder)
            if asked is not None:
                self._compute.stop(run_id, asked)
            return
        self._notified = -1.0  # look at the queue at once
        try:
            self._record_end(folder, end)
        except FileNotFoundError:
            log.info("run %s is gone", run_id)
        except (StudioError, OSError):
            log.exception("run %s: its end could not be recorded", run_id)

    def _record_end(self, folder: Path, end: End) -> None:
        """Record the end of a run that nobody works on any more, unless that was done; clear away its requests.

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
                self._record(folder, end.state, end.message)
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


def hold_slot(adapters_dir: Path) -> IO[bytes] | None:
    """The training slot, held until the file is closed; None if another trainer has it."""
    for _ in range(5):  # a server that looks whether the slot is free holds the lock for a moment
        lock = try_lock(adapters_dir)
        if lock is not None:
            return lock
        time.sleep(0.02)
    return None


def _source_stamp() -> float:
    """Newest change of those of the program's files that this process has imported."""
    files = [module.__file__ for name, module in list(sys.modules.items()) if name.split(".")[0] == "studio"]
    stamps = [0.0]
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            stamps.append(os.stat(file).st_mtime if file else 0.0)
    return max(stamps)


def preload_training() -> None:
    """Import what trainings need, seconds before the first needs it."""
    from studio.ml.detox import run as detox
    from studio.ml.dpo import run as dpo
    from studio.ml.kto import run as kto
    from studio.ml.reward import run as reward

    dpo.preload()
    kto.preload()
    reward.preload()
    detox.preload()


def serve(
    compute: Callable[[Settings, IO[bytes]], Compute],
    preload: Callable[[], None],
    idle_exit_s: float,
    module: str,
) -> None:
    """A trainer process from its start to its end; ``module`` starts it anew when the program's files changed. Settings come from
    ``STUDIO_*`` variables."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s: %(message)s")
    parser = argparse.ArgumentParser(prog=module)
    parser.add_argument("--parent", type=int, default=0, help="end with this process, whatever is at work")
    settings, options = load_settings(), parser.parse_args()
    slot = hold_slot(settings.adapters_dir)
    if slot is None:
        return
    computing = compute(settings, slot)
    trainer = Trainer(settings, computing, idle_exit_s, options.parent)
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
    computing.close(abandon=why == "orphaned")
    if why == "changed":
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])


def main(
    train: Train = train_run, preload: Callable[[], None] = preload_training, idle_exit_s: float = IDLE_EXIT_S
) -> None:
    """Entry of ``python -m studio.services.worker.trainer``."""
    serve(lambda settings, slot: LocalCompute(settings, train, slot), preload, idle_exit_s, TRAINER)


if __name__ == "__main__":
    main()
