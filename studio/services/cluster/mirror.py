"""A folder as pieces: what changed in it since the last look, and the same written into another folder. Nothing here knows Ray."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from studio.errors import InputError

#: Bytes of one piece at most.
PIECE_BYTES = 4 << 20
#: Files that only grow: of these what was added goes.
GROWING = frozenset({"events.jsonl", "samples.jsonl", "log.txt"})
#: Files of a run folder that are each side's own.
OWN = frozenset({"status.json", "stop.json", "job.json", "notes.json"})
#: Written last into a checkpoint or beside an adapter's config: sent after the rest, so that a folder that has them is whole.
_LAST = ("trainer_state.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Piece:
    """A part of a file, ``at`` bytes from its beginning; ``last``: with it a file that is replaced as a whole is complete."""

    name: str
    at: int
    data: bytes
    last: bool


class Mirror:
    """What has been sent of a folder. What lies there at the beginning counts as sent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent = {name: _mark(stat) for name, stat in _files(folder)}

    def pieces(self) -> Iterator[Piece]:
        """What was added to growing files, and other files that are new or changed. A file that goes meanwhile is left out."""
        files = _files(self._folder)
        for name, stat in sorted(files, key=lambda one: one[0].endswith(_LAST)):
            before, now = self._sent.get(name), _mark(stat)
            if before == now:
                continue
            with contextlib.suppress(FileNotFoundError):
                if name in GROWING:
                    yield from _added(self._folder / name, name, before[0] if before else 0, stat.st_size)
                else:
                    yield from _whole(self._folder / name, name)
                self._sent[name] = now

    def gone(self) -> list[str]:
        """Files that were sent and are not there any more."""
        there = {name for name, _ in _files(self._folder)}
        gone = [name for name in self._sent if name not in there]
        for name in gone:
            del self._sent[name]
        return gone


def listed(folder: Path) -> list[str]:
    """The files that a run needs to be gone on with elsewhere."""
    return [name for name, _ in _files(folder)]


def read_piece(folder: Path, name: str, at: int) -> bytes:
    """Bytes of a file from ``at`` on, ``PIECE_BYTES`` of them at most.

    Raises:
        FileNotFoundError: it is gone.
    """
    with open(inside(folder, name), "rb") as file:
        file.seek(at)
        return file.read(PIECE_BYTES)


def write_piece(folder: Path, piece: Piece) -> None:
    """Add to a growing file; collect any other beside its place and replace it once it is whole.

    Raises:
        OSError: the disk is full. InputError: the name leads out of the folder.
    """
    path = inside(folder, piece.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path if piece.name in GROWING else path.with_name(f".part-{path.name}")
    fresh = piece.at == 0 and place is not path
    with open(place, "wb" if fresh or not place.exists() else "r+b") as file:
        file.seek(piece.at)
        file.write(piece.data)
    if piece.last and place is not path:
        os.replace(place, path)


def remove_file(folder: Path, name: str) -> None:
    """Remove a file, and the folders that it leaves empty."""
    path = inside(folder, name)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty
        while path.parent != folder:
            path = path.parent
            path.rmdir()


def inside(folder: Path, name: str) -> Path:
    """A file below a folder.

    Raises:
        InputError: the name leads out of it.
    """
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
        raise InputError(f"{name[:80]!r} is no file of a run.")
    return folder.joinpath(*parts)


def _files(folder: Path, below: str = "") -> list[tuple[str, os.stat_result]]:
    """Name and state of each file, hidden ones and each side's own left out. A folder is listed before its files are looked at: where
    one is there that is written last, the others are whole."""
    files: list[tuple[str, os.stat_result]] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder / below) as entries:
        for entry in list(entries):
            name = f"{below}{entry.name}"
            if entry.name.startswith(".") or name in OWN or entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                files += _files(folder, f"{name}/")
                continue
            with contextlib.suppress(FileNotFoundError):
                files.append((name, os.stat(folder / name)))
    return files


def _mark(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _added(path: Path, name: str, at: int, size: int) -> Iterator[Piece]:
    with open(path, "rb") as file:
        file.seek(at)
        while at < size and (data := file.read(min(PIECE_BYTES, size - at))):
            yield Piece(name, at, data, True)
            at += len(data)


def _whole(path: Path, name: str) -> Iterator[Piece]:
    with open(path, "rb") as file:
        at, data = 0, file.read(PIECE_BYTES)
        while True:
            after = file.read(PIECE_BYTES)
            yield Piece(name, at, data, not after)
            if not after:
                return
            at, data = at + len(data), after
