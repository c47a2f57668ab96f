"""Temporary files and folders of processes that were killed while they wrote."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from studio.config import Settings
from studio.ml.lora.snapshots import STEPS

#: Seconds after which nobody writes a temporary file any more.
OLD_S = 3600.0
#: Folders beside the run folders, a snapshot in them, a dataset that is being imported, a kept state, a file that replaces another (:mod:`.atomic`).
_NAMES = re.compile(r"\.(new|trash|upload|import)-.+|.+\.tmp|\..+\.[a-z]+-[a-z0-9_]{8}")


def clear_leftovers(settings: Settings, older_than: float = OLD_S) -> None:
    """Delete what was not written to for ``older_than`` seconds. What cannot be deleted stays."""
    for path in _temporary(settings):
        with contextlib.suppress(OSError):
            if time.time() - path.stat(follow_symlinks=False).st_mtime < older_than:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _temporary(settings: Settings) -> Iterator[Path]:
    folders = [settings.adapters_dir, settings.imported_dir]
    folders += [Path(at) for at, _, _ in os.walk(settings.cache_dir)]
    for folder in folders:
        yield from _named_so(folder)
    for entry in _entries(settings.adapters_dir):
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from _named_so(Path(entry.path))
            yield from _named_so(Path(entry.path) / STEPS)


def _named_so(folder: Path) -> Iterator[Path]:
    return (Path(entry.path) for entry in _entries(folder) if _NAMES.fullmatch(entry.name))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []
