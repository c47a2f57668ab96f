"""GGUF files become model folders once: converted by a child process, moved into place when whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from studio.errors import ConflictError, ModelLoadError
from studio.services.models.children import Cancelled, run_child
from studio.services.models.hub import Progress

log = logging.getLogger(__name__)

#: Beside the weights: where they came from.
SOURCE = "source.json"
#: A converted model is at most so many times its GGUF file (4 bits a weight and less become 16).
GROWTH = 5


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """A working folder beside ``folder`` for whoever makes it, alone; gone at the end whatever happens.

    Raises:
        ConflictError: another process is making it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f".making-{folder.name}"
    try:
        lock = FileLock(f"{work}.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise ConflictError(f"{folder.name} is being fetched already; wait until it is here.") from None
    try:
        shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
        work.mkdir()
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def convert(file: Path, work: Path, folder: Path, source: dict[str, Any], say: Progress, cancelled: Cancelled) -> None:
    """Make the model folder ``folder`` of a GGUF file; ``source`` is kept in it, with the file's name, size and date.

    Raises:
        ModelLoadError: it cannot be read, or the disk has no room.
        ConflictError: cancelled.
    """
    stat = file.stat()
    check_room(work, stat.st_size * GROWTH)

    def look(printed: str) -> None:
        fraction, _, text = (printed.splitlines() or [""])[-1].partition(" ")
        if text:
            say(float(fraction), f"Converting {folder.name}: {text}")

    made = work / folder.name
    command = [sys.executable, "-m", "studio.ml.models.gguf", str(file), str(made)]
    environ = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(max(1, _cores() // 2))}
    code, complaints = run_child(command, cancelled, look, environ)
    if code:
        lines = complaints.strip().splitlines()
        if code == 2 and lines:
            raise ModelLoadError(lines[-1])
        log.error("the conversion of %s ended with %d: %s", file, code, complaints[-4000:])
        if code < 0:
            raise ModelLoadError(
                f"The conversion of {file.name} was killed, as a rule for want of memory; free some and try again."
            )
        full = "No space left" in complaints
        raise ModelLoadError(
            full_disk(work) if full else f"{file.name} could not be converted; the log has the details."
        )
    record = {**source, "file": file.name, "bytes": stat.st_size, "date": time.strftime("%Y-%m-%d")}
    (made / SOURCE).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
    say(1.0, f"{folder.name} is ready")


def read_source(folder: Path) -> dict[str, Any] | None:
    """What ``source.json`` of a folder says, or None where the studio did not make it."""
    try:
        record = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def sha256_of(file: Path) -> str:
    """The sha256 of a file."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_room(where: Path, needed: int) -> None:
    """Refuse work for which the disk has too little room.

    Raises:
        ModelLoadError: fewer than ``needed`` bytes are free.
    """
    if shutil.disk_usage(where).free < needed:
        raise ModelLoadError(full_disk(where, needed))


def full_disk(where: Path, needed: int = 0) -> str:
    """The sentence about a disk without room."""
    free = shutil.disk_usage(where).free / 1e6
    room = f"{free:,.0f} MB are free" + (f", {needed / 1e6:,.0f} are needed" if needed else "")
    return f"The disk of {where.parent} is full ({room}); make room, or set STUDIO_MODELS_DIR to another disk."


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
