"""Import files from a zip or a folder that somebody else made: a run's, or an export of votes. Only files of known names are
read, sizes counted while they are, nothing is trusted: not a path, not a declared size, not a file type. No torch, no
gradio."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from studio.errors import InputError
from studio.services.files.choosing import (
    CONFIG,
    FOREIGN_CARD,
    TEMPLATES,
    TOP,
    WEIGHTS,
    Choice,
    Entry,
    adapter_folders,
    choose,
)
from studio.services.files.plain import plain_file, unreadable

MIB = 1 << 20
#: Files that are taken, each with its largest size in bytes (the weights: whatever the whole may be).
TAKEN: dict[str, int | None] = {
    WEIGHTS: None,
    CONFIG: MIB,
    "run.json": 8 * MIB,
    "status.json": MIB,
    "notes.json": MIB,
    "dataset.json": 64 * MIB,
    "plan.json": 16 * MIB,
    "events.jsonl": 64 * MIB,
    "samples.jsonl": 64 * MIB,
    "log.txt": 64 * MIB,
    "README.md": MIB,
    FOREIGN_CARD: MIB,
    **dict.fromkeys(TEMPLATES, 64 * MIB),
}
#: Entries of a zip, or files below a folder, that are looked at.
MAX_ENTRIES = 10_000
_MAX_DIRECTORY = MIB
_DEEPEST = 6
_CHANGED_WHILE_READ = "changed while it was read"


@dataclass(frozen=True)
class Unpacked:
    """What was imported: ``names`` lie in the target folder, ``left_out`` are not kept (nor read, but for a chat template).
    ``folder`` is where the adapter
    lay in the upload, ``others`` are the other folders there that hold one, the newest first."""

    names: frozenset[str]
    left_out: tuple[str, ...]
    folder: str = TOP
    others: tuple[str, ...] = ()


class _Budget:
    """Bytes that may still be written, counted while they are read: a declared size may lie."""

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit

    def copy(self, source: IO[bytes], target: Path, name: str) -> None:
        most = TAKEN.get(name)
        written = 0
        with open(target, "xb") as out:
            while block := source.read(MIB):
                written += len(block)
                self._left -= len(block)
                if self._left < 0:
                    raise InputError(
                        f"Unpacked, this is more than {self._limit / MIB:.0f} MB (STUDIO_MAX_UPLOAD_MB), so it was not imported."
                    )
                if most is not None and written > most:
                    raise InputError(f"{name} is larger than {most // MIB} MB; that is no adapter's {name}.")
                out.write(block)


def adapters_in(path: Path) -> tuple[str, ...]:
    """The folders in a zip or folder that hold an adapter, the newest first; nothing but names is read.

    Raises:
        InputError: it is neither, or holds a path that leads out of it.
    """
    if path.is_dir():
        return adapter_folders(_listed(path))
    with _opened(path) as archive:
        return adapter_folders(_entries(archive))


def unpack_zip(path: Path, target: Path, limit: int, checkpoint: str = "") -> Unpacked:
    """Unpack an adapter's zip into the empty folder ``target``; at most ``limit`` bytes in all. Of several adapters in it the
    newest is taken, or the one in the folder ``checkpoint``. Files that are not needed are not read.

    Raises:
        InputError: it is no zip, holds a path that leads out of its folder, no adapter, none in ``checkpoint``, or too much
            once unpacked, or a file that is taken is a link, encrypted or doubled. ``target`` may then hold some of its files.
    """
    with _opened(path) as archive:
        choice = choose(_entries(archive), TAKEN, checkpoint)
        _extract(archive, {name: entry.item for name, entry in choice.files.items()}, target, limit)
    return _unpacked(choice)


def unpack_known(path: Path, target: Path, limit: int, known: Collection[str]) -> frozenset[str]:
    """Unpack from a zip the files whose path is in ``known`` (below one top folder, or none) into the empty folder
    ``target``; at most ``limit`` bytes in all. Other files are left out. Returns the paths that were there.

    Raises:
        InputError: it is no zip, or holds a path that leaves the folder, a link, an encrypted or doubled file, or too much
            once unpacked. ``target`` may then hold some of its files.
    """
    with _opened(path) as archive:
        entries = _entries(archive)
        tops = {entry.parts[0] for entry in entries} - {"__MACOSX"}
        wrapped = len(tops) == 1 and not any("/".join(entry.parts) in known for entry in entries)
        files: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            name = "/".join(entry.parts[wrapped:])
            if name in known:
                if name in files:
                    raise InputError(f"The zip holds {name} twice.")
                files[name] = entry.item
        _extract(archive, files, target, limit)
    return frozenset(files)


def copy_folder(source: Path, target: Path, limit: int, checkpoint: str = "") -> Unpacked:
    """Copy an adapter out of a folder into the empty folder ``target``, as :func:`unpack_zip`. Links are not followed.

    Raises:
        InputError: not a folder, not readable, or as :func:`unpack_zip`.
    """
    choice = choose(_listed(source), TAKEN, checkpoint)
    budget = _Budget(limit)
    for name, entry in choice.files.items():
        if entry.item.is_symlink() and name in TEMPLATES:
            continue
        if entry.item.is_symlink():
            raise InputError(f"{name} is a link; only plain files are imported.")
        try:
            with plain_file(entry.item, name, follow_links=False) as file:
                budget.copy(file, target / name, name)
        except FileNotFoundError:
            raise InputError(f"{name} {_CHANGED_WHILE_READ}.") from None
    return _unpacked(choice)


def _unpacked(choice: Choice[Any]) -> Unpacked:
    templates = tuple(name for name in choice.files if name in TEMPLATES)
    return Unpacked(frozenset(choice.files), (*choice.left_out, *templates), choice.folder, choice.others)


def _listed(source: Path) -> list[Entry[Path]]:
    """All files below a folder, links and what lies too deep or cannot be looked into as one entry each."""
    if source.is_symlink() or not source.is_dir():
        raise InputError(f"{source} is not a folder.")
    entries: list[Entry[Path]] = []

    def walk(folder: Path, parts: tuple[str, ...]) -> None:
        with os.scandir(folder) as listed:
            for entry in sorted(listed, key=lambda e: e.name):
                here, path = (*parts, entry.name), Path(entry.path)
                if len(entries) >= MAX_ENTRIES:
                    raise InputError(f"{source} holds more than {MAX_ENTRIES:,} files; name the adapter's own folder.")
                inner = entry.is_dir(follow_symlinks=False) and len(here) < _DEEPEST and not entry.name.startswith(".")
                try:
                    if inner:
                        before = len(entries)
                        walk(path, here)
                        if len(entries) > before:
                            continue
                    changed = entry.stat(follow_symlinks=False).st_mtime
                except OSError:  # not readable, or gone meanwhile: it is left out in any case
                    changed = 0.0
                entries.append(Entry(here, changed, path))

    try:
        walk(source, ())
    except OSError as error:
        raise unreadable(str(source), error) from error
    return entries


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with plain_file(path, path.name) as plain:
        try:
            archive = zipfile.ZipFile(_Bounded(plain.raw))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error, OverflowError) as error:
            raise InputError(
                f"{path.name} is not a zip file that can be read (its table of contents: {error})."
            ) from None
        with archive:
            if len(archive.infolist()) > MAX_ENTRIES:
                raise InputError(f"The zip has {len(archive.infolist())} entries; at most {MAX_ENTRIES} are read.")
            try:
                yield archive
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
                raise InputError(f"{path.name} is not a zip file that can be read ({error}).") from None


class _Bounded(io.BufferedReader):
    """A file that ``zipfile`` cannot read whole: its table of contents comes in one piece, whose size a file may claim."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise InputError("The zip's table of contents is far too long for an adapter.")
        return super().read(size)


def _entries(archive: zipfile.ZipFile) -> list[Entry[zipfile.ZipInfo]]:
    """The files of a zip; what is taken is looked at more closely when it is unpacked."""
    return [
        Entry(_safe_parts(info.filename), float("".join(f"{part:02d}" for part in info.date_time)), info)
        for info in archive.infolist()
        if not info.is_dir()
    ]


def _extract(archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], target: Path, limit: int) -> None:
    budget = _Budget(limit)
    for name, info in files.items():
        _check_plain(info)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source:
            budget.copy(source, target / name, name)


def _safe_parts(name: str) -> tuple[str, ...]:
    # Windows' own tools wrote backslashes for a long time
    spelled = name.replace("\\", "/")
    parts = PurePosixPath(spelled).parts
    if not parts or spelled.startswith("/") or ".." in parts or ":" in name or "\0" in name:
        raise InputError(f"The zip holds the path {name!r}, which leads out of its folder; it was not unpacked.")
    return parts


def _check_plain(info: zipfile.ZipInfo) -> None:
    name = info.filename
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise InputError(f"{name!r} is a link or a device in the zip; only plain files are imported.")
    if info.flag_bits & 0x1:
        raise InputError(f"{name!r} is encrypted; make a zip without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{name!r} is packed by an unusual method; make a plain (deflate) zip.")
