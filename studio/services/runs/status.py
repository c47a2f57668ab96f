"""The state of a run on disk: who owns it, whether that owner lives, and who asked it to stop."""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from studio.domain.runs import FINAL_STATES, RunStatus
from studio.errors import InputError
from studio.services.files.records import read_record, write_record

log = logging.getLogger(__name__)

StopMode = Literal["keep", "discard"]

#: Seconds without a heartbeat after which an owner counts as dead though a process of its number lives.
STALE_S = 120.0
#: On a FUSE mount a file that is replaced is gone for a moment. A run has a status as long as it has a recipe, so it is looked for again:
#: so many seconds long, so many times.
REPLACED_S, REPLACED_TRIES = 0.1, 10
#: No time of a run, in Unix seconds, is beyond this (the year 5138); calendars end soon after.
LATEST_S = 1e11
DIED = "The training process ended without a word, so nothing after its last checkpoint was kept. Resume goes on from there."


@dataclass(frozen=True)
class StopRequest:
    """What ``stop.json`` asks: save the adapter and end, or end and remove the folder. ``at`` is in Unix seconds."""

    mode: StopMode
    at: float


def read_status(folder: Path) -> RunStatus:
    """What ``status.json`` says. See :func:`effective` for what it means.

    Raises:
        FileNotFoundError: there is none.
        InputError: it is broken.
    """
    for _ in range(REPLACED_TRIES):
        try:
            status = read_record(RunStatus, folder / "status.json")
            break
        except FileNotFoundError:
            if not (folder / "run.json").is_file():
                raise
            time.sleep(REPLACED_S / REPLACED_TRIES)
    else:
        status = read_record(RunStatus, folder / "status.json")
    times = (status.pid_started, status.heartbeat, status.updated, status.seconds)
    if min(status.step, status.total, status.pid) < 0 or not all(0 <= value < LATEST_S for value in times):
        raise InputError(f"{folder.name}/status.json: a time or a count in it cannot be.")
    return status


def counts(status: RunStatus) -> dict[str, str | int]:
    """State, message and step counts, for programs."""
    return {"state": status.state, "message": status.message, "step": status.step, "total": status.total}


def write_status(folder: Path, status: RunStatus) -> None:
    """Replace ``status.json``. Only for the run's present owner (see the module's head).

    Raises:
        OSError: the disk is full.
    """
    write_record(folder / "status.json", status)


def stop_request(folder: Path) -> StopRequest | None:
    """The stop request of a run, if somebody made one. A file of that name that is none asks for nothing: a run ends for
    requests, not for damage."""
    try:
        return read_record(StopRequest, folder / "stop.json")
    except FileNotFoundError:
        return None
    except InputError as error:
        _warn_once(f"stop request disregarded: {error}")
        return None


@functools.lru_cache(maxsize=100)
def _warn_once(text: str) -> None:
    """Log what is looked at many times a second."""
    log.warning("%s", text)


def process_alive(pid: int, started: float) -> bool:
    """Whether the process that had this number and create time still works (a zombie does not)."""
    if not 0 < pid < 2**31:
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 2.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def owner_alive(status: RunStatus) -> bool:
    """Whether the process that owns a run is still there."""
    return process_alive(status.pid, status.pid_started)


def effective(status: RunStatus, folder: Path) -> RunStatus:
    """What a status means now: ``interrupted`` where a moving run has no living owner, ``stopping`` where one was asked
    to stop."""
    if status.state in FINAL_STATES or status.state == "queued":
        return status
    if not owner_alive(status) or time.time() - status.heartbeat > STALE_S:
        again = read_status(folder)
        # The owner may have written its last word between our two looks.
        return again if again.state in FINAL_STATES else replace(status, state="interrupted", message=DIED)
    if stop_request(folder) is not None:
        return replace(status, state="stopping", message="Stopping after this step.")
    return status
