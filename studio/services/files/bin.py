"""What was deleted, kept for a while: ``.bin/<time>-<name>`` beside where it stood."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from studio.services.files.disk import folder_size

#: Days for which what was deleted can be had back.
KEPT_DAYS = 30
_BIN = ".bin"


@dataclass(frozen=True)
class Binned:
    """A deleted file or folder: what it was called, when it was deleted in Unix seconds, its size in bytes, where it lies."""

    name: str
    deleted: float
    size_bytes: int
    path: Path


def put_into_bin(path: Path) -> None:
    """Move a file or a folder out of sight. The caller has made sure that nobody writes there."""
    place = path.parent / _BIN
    place.mkdir(exist_ok=True)
    remove_old(path.parent)
    with contextlib.suppress(FileNotFoundError):
        path.rename(place / f"{time.time_ns()}-{path.name}")


def binned(folder: Path) -> list[Binned]:
    """What was deleted from ``folder`` and can be had back, the newest first."""
    remove_old(folder)
    return [
        Binned(name, deleted, folder_size(path) if path.is_dir() else path.stat().st_size, path)
        for path, name, deleted in _entries(folder)
    ]


def deleted_last(folder: Path, names: Collection[str]) -> Path | None:
    """Where the one of these names lies; of several the one deleted last. None without one."""
    return next((path for path, known, _ in _entries(folder) if known in names), None)


def remove_old(folder: Path, days: float = KEPT_DAYS) -> None:
    """Delete what was put into the bin more than ``days`` ago, for good."""
    for path, _, deleted in _entries(folder):
        if time.time() - deleted >= days * 86_400:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _entries(folder: Path) -> list[tuple[Path, str, float]]:
    """Path, name and time of deletion in Unix seconds, the newest first."""
    stored = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder / _BIN) as entries:
        for entry in entries:
            stamp, _, name = entry.name.partition("-")
            if stamp.isdigit() and name and not entry.is_symlink():
                stored.append((Path(entry.path), name, int(stamp) / 1e9))
    return sorted(stored, key=lambda one: one[2], reverse=True)
