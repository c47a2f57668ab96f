"""Snapshots of an adapter on its way: ``steps/<step>/`` in a run folder, each loadable by plain PEFT.

The trainer writes them, within bounds of number and size: those that leave the rest most evenly spaced go first. They are the first to go
where the disk is nearly full, and stay while somebody chats with them (:func:`mark_used`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from studio.ml.lora.mixed import WEIGHTS

log = logging.getLogger(__name__)

STEPS = "steps"
#: A disk with less room than this (bytes) is nearly full.
SPARE_BYTES = 2**29
#: Seconds after a question to it for which a snapshot counts as in use.
IN_USE_S = 900.0
_MARK = "used"


def kept_steps(folder: Path) -> tuple[int, ...]:
    """The steps of which the run in ``folder`` has a snapshot, lowest first."""
    steps = []
    with contextlib.suppress(OSError), os.scandir(folder / STEPS) as entries:
        for entry in entries:
            number = entry.name.isascii() and entry.name.isdigit() and len(entry.name) < 10
            if number and entry.is_dir(follow_symlinks=False) and os.path.isfile(os.path.join(entry.path, WEIGHTS)):
                steps.append(int(entry.name))
    return tuple(sorted(steps))


def step_folder(folder: Path, step: int) -> Path:
    """Where the snapshot of a step lies in a run folder."""
    return folder / STEPS / str(step)


def mark_used(place: Path) -> None:
    """Somebody asks the snapshot in ``place`` something."""
    with contextlib.suppress(OSError):
        (place / _MARK).touch()


@dataclass
class Snapshots:
    """Those of the run in ``folder``: at most ``count`` of them and ``megabytes`` (MB); either 0: none. ``save`` writes the adapter as it
    is into a folder that it makes."""

    folder: Path
    save: Callable[[Path], None]
    count: int
    megabytes: int

    def keep(self, step: int) -> None:
        """Keep the adapter as it is; a snapshot that cannot be written is one less, and the run goes on."""
        from safetensors import SafetensorError

        place = step_folder(self.folder, step)
        if self.count < 1 or self.megabytes < 1 or not self.make_room() or place.exists():
            return
        fresh = place.with_name(f".new-{step}")
        try:
            self.save(fresh)
            fresh.rename(place)
        except (OSError, SafetensorError) as error:
            log.warning("No snapshot of step %d: %s", step, error)
            shutil.rmtree(fresh, ignore_errors=True)
        self._thin()

    def make_room(self) -> bool:
        """Where the disk is nearly full, delete the snapshots of all runs, the oldest first, until it is not; whether there is room."""
        for place in _oldest_first(self.folder.parent):
            if self._room():
                break
            if not _in_use(place):
                shutil.rmtree(place, ignore_errors=True)
        return self._room()

    def _room(self) -> bool:
        return shutil.disk_usage(self.folder).free >= SPARE_BYTES

    def _thin(self) -> None:
        """Delete snapshots beyond the bounds; the newest goes last."""
        while steps := kept_steps(self.folder):
            size = sum(_size(step_folder(self.folder, step)) for step in steps)
            if len(steps) <= self.count and size <= self.megabytes * 1_000_000:
                return
            around = [0, *steps, steps[-1] + steps[-1]]
            gaps = {step: around[at + 2] - around[at] for at, step in enumerate(steps)}
            free = [step for step in steps if not _in_use(step_folder(self.folder, step))]
            if not free:
                return
            gone = min(free, key=lambda step: (step == steps[-1], gaps[step]))
            shutil.rmtree(step_folder(self.folder, gone), ignore_errors=True)


def _in_use(place: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - (place / _MARK).stat().st_mtime < IN_USE_S
    return False


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.iterdir() if path.is_file())


def _oldest_first(runs: Path) -> Iterator[Path]:
    """The snapshots of all runs below ``runs``, by when they were written."""
    dated = []
    for folder in runs.iterdir():
        for step in kept_steps(folder):
            place = step_folder(folder, step)
            with contextlib.suppress(OSError):
                dated.append(((place / WEIGHTS).stat().st_mtime, place))
    return (place for _, place in sorted(dated))
