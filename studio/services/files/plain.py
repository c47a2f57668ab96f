"""Plain files opened without trust in what lies under a name: a directory, a pipe, a device or another user's file gives a
sentence and never blocks."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from studio.errors import InputError


@contextlib.contextmanager
def plain_file(path: Path | str, where: str, *, follow_links: bool = True) -> Iterator[BufferedReader]:
    """A regular file open for reading; ``where`` names it in messages.

    Raises:
        FileNotFoundError: there is none.
        InputError: it is no regular file, is a link though ``follow_links`` is off, or cannot be read.
    """
    # A pipe would block at open without O_NONBLOCK; between a look and the open a file could be swapped for a link.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | (0 if follow_links else getattr(os, "O_NOFOLLOW", 0))
    try:
        handle = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(where, error) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{where} is not a plain file.")
    with os.fdopen(handle, "rb") as file:
        yield file


def unreadable(where: str, error: OSError) -> InputError:
    """The sentence for a file that cannot be read."""
    return InputError(f"{where} cannot be read ({error.strerror or error}).")


def check_readable(path: Path, where: str) -> None:
    """See that :func:`plain_file` would open a file, or that there is none.

    Raises:
        InputError: it would not.
    """
    if not os.path.lexists(path):
        return
    if not os.path.isfile(path):
        raise InputError(f"{where} is not a plain file.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{where} cannot be read ({os.strerror(errno.EACCES)}).")
