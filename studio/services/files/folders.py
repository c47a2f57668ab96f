"""Folders that cannot be written, as a sentence: which one, why, and what to do."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from studio.config import Settings
from studio.errors import InputError, NotFoundError
from studio.services.files.disk import is_full

_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def storage_sentence(error: OSError) -> str:
    """What to tell a person about a full disk or a folder that may not be written; empty for any other error."""
    place = error.filename or "a folder of the studio"
    if is_full(error):
        return f"The disk is full: {place} could not be written. Free some space and try again."
    if error.errno in _FORBIDDEN:
        return (
            f"{place} cannot be used: {error.strerror}. Give this program the right to read and write there, or name another "
            "folder (the STUDIO_..._DIR variables)."
        )
    return ""


def check_file(name: str, path: Path) -> None:
    """Check that a file can be written before the work for it is done; ``name`` is what a person calls it.

    Raises:
        NotFoundError: there is no such folder.
        InputError: the path is a folder, or it or its folder cannot be written.
    """
    if not path.parent.is_dir():
        raise NotFoundError(f"There is no folder {path.parent} to write into ({name}).")
    if path.is_dir():
        raise InputError(f"{name} is {path}, which is a folder; name a file.")
    reason = unwritable(path.parent) or ("" if not path.exists() or os.access(path, os.W_OK) else "Permission denied")
    if reason:
        raise InputError(f"{name} is {path}, which cannot be written ({reason}); name another place.")


def add_demos(settings: Settings) -> None:
    """Copy the shipped demo adapters into the data root (``STUDIO_DATA_ROOT``) where it has no folder of adapters yet.

    Raises:
        InputError: they could not be copied; the folder is as it was.
    """
    home, shipped = settings.adapters_dir, Settings().adapters_dir
    if not settings.data_root or home.exists():
        return
    making = home.with_name(f".{home.name}.{os.getpid()}")
    try:
        for demo in sorted(shipped.glob("demo-*")):
            shutil.copytree(demo, making / demo.name)
        making.rename(home)
    except OSError as error:
        shutil.rmtree(making, ignore_errors=True)
        if not home.exists():  # where it does, another server was quicker
            raise InputError(storage_sentence(error) or f"{home} could not be made: {error.strerror}.") from error


def unwritable(folder: Path) -> str:
    """Why ``folder``, or what has to be made of it, cannot be written; empty where it can. Leaves nothing behind."""
    at = folder
    while not at.exists() and at != at.parent:
        at = at.parent
    try:
        with tempfile.TemporaryFile(dir=at) as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        return error.strerror or str(error)
    return ""
