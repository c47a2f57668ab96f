"""A full disk, as a sentence."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

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
