"""A full disk, as a sentence; what a folder takes of it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from studio.errors import ConflictError


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or what one may use of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def needs_room(way_out: str) -> Iterator[None]:
    """Work that writes to the disk; ``way_out`` ends the sentence where it is full.

    Raises:
        ConflictError: it is full.
    """
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise ConflictError(f"The disk is full; {way_out}") from error
        raise


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; what cannot be looked into counts as nothing."""
    total = 0
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # a checkpoint rotates while we look
                if entry.is_dir(follow_symlinks=False):
                    total += folder_size(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total
