"""Whether anything about the runs changed, told from the times of files: far cheaper than reading them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: What of a run folder is written anew whenever something about the run changes.
_WRITTEN = ("status.json", "notes.json", "stop.json")


def runs_stamp(adapters_dir: Path) -> frozenset[tuple[str, str, int]]:
    """Folder, file and time (nanoseconds) of each of these files below ``adapters_dir``; equal while nothing changed."""
    stamps: set[tuple[str, str, int]] = set()
    with contextlib.suppress(FileNotFoundError), os.scandir(adapters_dir) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                continue
            stamps.add((entry.name, "", 0))
            for name in _WRITTEN:
                with contextlib.suppress(OSError):
                    stamps.add((entry.name, name, os.stat(os.path.join(entry.path, name)).st_mtime_ns))
    return frozenset(stamps)
