"""The status file of a run, kept by its worker."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil

from studio.domain.runs import RunState, RunStatus
from studio.services.runs.status import write_status

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0


class StatusKeeper:
    """Owns ``status.json`` while the worker lives: a thread beats every second, so that a long step (or a slow model
    load) does not read as death, and a crash of the training thread cannot leave a beating heart behind."""

    def __init__(self, folder: Path, before: RunStatus, lent: bool = False) -> None:
        self._folder = folder
        self._began = time.monotonic()
        self._worked_before = before.seconds
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._status = replace(
            before,
            state="running",
            message="Loading the base model.",
            pid=os.getpid(),
            pid_started=psutil.Process().create_time(),
            lent=lent,
        )
        self._write()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def progress(self, step: int, total: int) -> None:
        """Note the newest step; it is written with the next beat."""
        with self._lock:
            message = "Measuring what was trained." if step >= total else ""
            self._status = replace(self._status, step=step, total=total, message=message)

    def end(self, state: RunState, message: str) -> None:
        """Stop beating and write the last word."""
        self._over.set()
        self._thread.join()
        with self._lock:
            self._status = replace(self._status, state=state, message=message)
            try:
                self._write()
            except OSError:
                # On a full disk there is no room for a second file; the old one's own blocks can still be written over.
                log.exception("could not replace status.json; writing into it")
                _overwrite(self._folder / "status.json", self._status)

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_S):
            with self._lock:
                try:
                    self._write()
                except OSError as error:
                    log.warning("heartbeat not written: %s", error)

    def _write(self) -> None:
        now = time.time()
        worked = self._worked_before + time.monotonic() - self._began
        self._status = replace(self._status, heartbeat=now, updated=now, seconds=round(worked, 3))
        write_status(self._folder, self._status)


def _overwrite(path: Path, status: RunStatus) -> None:
    data = json.dumps(dataclasses.asdict(status), ensure_ascii=False).encode()
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        file.write(data.ljust(size))
        file.truncate()
        os.fsync(file.fileno())
