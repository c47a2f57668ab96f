"""Deleted runs, kept for a while: ``.bin/<time>-<run id>`` beside the run folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from studio.domain.runs import FINAL_STATES
from studio.errors import ConflictError, NotFoundError
from studio.services.runs.folder import folder_size
from studio.services.runs.status import read_status, write_status

#: Days for which a deleted run can be had back.
KEPT_DAYS = 30
_BIN = ".bin"


@dataclass(frozen=True)
class BinnedRun:
    """A deleted run: ``deleted`` in Unix seconds, the size of its files in bytes."""

    run_id: str
    deleted: float
    size_bytes: int


def put_into_bin(folder: Path) -> None:
    """Move a run out of sight. The caller has made sure that nobody writes there."""
    place = folder.parent / _BIN
    place.mkdir(exist_ok=True)
    remove_old(folder.parent)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(place / f"{time.time_ns()}-{folder.name}")


def binned(adapters_dir: Path) -> list[BinnedRun]:
    """The deleted runs that can be had back, the newest first."""
    remove_old(adapters_dir)
    return [BinnedRun(run_id, deleted, folder_size(folder)) for folder, run_id, deleted in _folders(adapters_dir)]


def restore(adapters_dir: Path, run_id: str) -> None:
    """Move a run back; of several of that id the one deleted last. The caller holds the queue's lock.

    Raises:
        NotFoundError: the bin holds no such run.
        ConflictError: a run of that id is there.
    """
    folder = next((folder for folder, name, _ in _folders(adapters_dir) if name == run_id), None)
    if folder is None:
        raise NotFoundError(f"The bin holds no run {run_id}.")
    if os.path.lexists(adapters_dir / run_id):
        raise ConflictError(f"There is a run {run_id} already; delete that one first.")
    with contextlib.suppress(FileNotFoundError):
        status = read_status(folder)
        if status.state not in FINAL_STATES:  # back in its place, it must not begin by itself
            write_status(folder, replace(status, state="interrupted", message="It was deleted before it was done."))
    folder.rename(adapters_dir / run_id)


def remove_old(adapters_dir: Path, days: float = KEPT_DAYS) -> None:
    """Delete what was put into the bin more than ``days`` ago, for good."""
    for folder, _, deleted in _folders(adapters_dir):
        if time.time() - deleted >= days * 86_400:
            shutil.rmtree(folder, ignore_errors=True)


def _folders(adapters_dir: Path) -> list[tuple[Path, str, float]]:
    """Folder, run id and time of deletion in Unix seconds, the newest first."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(adapters_dir / _BIN) as entries:
        for entry in entries:
            stamp, _, run_id = entry.name.partition("-")
            if stamp.isdigit() and run_id and entry.is_dir(follow_symlinks=False):
                found.append((Path(entry.path), run_id, int(stamp) / 1e9))
    return sorted(found, key=lambda one: one[2], reverse=True)
