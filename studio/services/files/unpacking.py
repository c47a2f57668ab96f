"""Import files from a zip or a folder that somebody else made: a run's, or an export of votes. Names are allow-listed,
sizes counted while they are read, nothing is trusted: not a path, not a declared size, not a file type. No torch, no
gradio."""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from studio.errors import InputError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
#: A card that came with a foreign adapter; the studio's own card takes the name README.md.
FOREIGN_CARD = "ORIGINAL_README.md"
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
}
#: Files that plain adapters often carry and that are of no use here: left out, not refused.
LEFT_OUT = frozenset(
    {
        ".gitattributes",
        ".gitignore",
        ".DS_Store",
        "LICENSE",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "generation_config.json",
    }
)
MAX_ENTRIES = 200
_MAX_DIRECTORY = MIB
_END_OF_ZIP = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_ADVICE = f"A zip made here holds {WEIGHTS}, {CONFIG} and the run's JSON files; a plain PEFT adapter needs those first two only."


@dataclass(frozen=True)
class Unpacked:
    """What was imported: ``names`` lie in the target folder, ``left_out`` were skipped."""

    names: frozenset[str]
    left_out: tuple[str, ...]


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


def unpack_zip(path: Path, target: Path, limit: int) -> Unpacked:
    """Unpack an adapter's zip into the empty folder ``target``; at most ``limit`` bytes in all.

    Raises:
        InputError: it is no zip, or holds a name outside the allow-list, a path that leaves the folder, a link, an
            encrypted or doubled file, too much once unpacked, or no adapter. ``target`` may then hold some of its files.
    """
    with _opened(path) as archive:
        files, left_out = _adapter_files(archive)
        unpacked = _complete(set(files), left_out)
        _extract(archive, files, target, limit)
    return unpacked


def unpack_known(path: Path, target: Path, limit: int, known: Collection[str]) -> frozenset[str]:
    """Unpack from a zip the files whose path is in ``known`` (below one top folder, or none) into the empty folder
    ``target``; at most ``limit`` bytes in all. Other files are left out. Returns the paths that were there.

    Raises:
        InputError: it is no zip, or holds a path that leaves the folder, a link, an encrypted or doubled file, or too much
            once unpacked. ``target`` may then hold some of its files.
    """
    with _opened(path) as archive:
        paths = [(info, _safe_parts(info)) for info in archive.infolist() if not info.is_dir()]
        tops = {parts[0] for _, parts in paths} - {"__MACOSX"}
        wrapped = len(tops) == 1 and not any("/".join(parts) in known for _, parts in paths)
        files: dict[str, zipfile.ZipInfo] = {}
        for info, parts in paths:
            name = "/".join(parts[wrapped:])
            if name in known:
                _add(files, name, info)
        _extract(archive, files, target, limit)
    return frozenset(files)


def copy_folder(source: Path, target: Path, limit: int) -> Unpacked:
    """Copy an adapter's folder into the empty folder ``target``; at most ``limit`` bytes in all.

    Only plain files directly in ``source`` are read; a ``checkpoint`` folder beside them is left out.

    Raises:
        InputError: not a folder, or as :func:`unpack_zip`.
    """
    if source.is_symlink() or not source.is_dir():
        raise InputError(f"{source} is not a folder.")
    budget, taken, left_out = _Budget(limit), set(), []
    for entry in sorted(os.scandir(source), key=lambda e: e.name):
        name = entry.name
        if entry.is_symlink():
            raise InputError(f"{name} is a link; only plain files are imported.")
        if (entry.is_dir() and name.startswith("checkpoint")) or name in LEFT_OUT or name.startswith("."):
            left_out.append(name)
            continue
        _check_name(name)
        # Between the look above and this open the file could be swapped for a link; O_NOFOLLOW closes that gap.
        with _plain_file(entry.path, name) as file:
            budget.copy(file, target / name, name)
        taken.add(name)
    return _complete(taken, left_out)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    _check_directory_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > MAX_ENTRIES:
                raise InputError(f"The zip has {len(archive.infolist())} entries; at most {MAX_ENTRIES} are read.")
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} is not a zip file that can be read ({error}).") from None


def _adapter_files(archive: zipfile.ZipFile) -> tuple[dict[str, zipfile.ZipInfo], list[str]]:
    """The files of an adapter by name, all in one folder, and those that are left out."""
    files: dict[str, zipfile.ZipInfo] = {}
    tops, left_out = set(), []
    for info in archive.infolist():
        if info.is_dir():
            continue
        parts = _safe_parts(info)
        if parts[0] == "__MACOSX":
            left_out.append(info.filename)
            continue
        if len(parts) > 2:
            raise InputError(
                f"{info.filename!r} lies too deep in the zip; the adapter's files belong at its top. {_ADVICE}"
            )
        tops.add(parts[:-1])
        if parts[-1] in LEFT_OUT:
            left_out.append(parts[-1])
        else:
            _check_name(parts[-1])
            _add(files, parts[-1], info)
    if len(tops) > 1:
        raise InputError("The zip holds several folders; upload one adapter at a time.")
    return files, left_out


def _add(files: dict[str, zipfile.ZipInfo], name: str, info: zipfile.ZipInfo) -> None:
    if name in files:
        raise InputError(f"The zip holds {name} twice.")
    files[name] = info


def _extract(archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], target: Path, limit: int) -> None:
    budget = _Budget(limit)
    for name, info in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source:
            budget.copy(source, target / name, name)


def _safe_parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    name = info.filename
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
        raise InputError(f"The zip holds the path {name!r}, which leads out of its folder; it was not unpacked.")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise InputError(f"{name!r} is a link or a device in the zip; only plain files are imported.")
    if info.flag_bits & 0x1:
        raise InputError(f"{name!r} is encrypted; make a zip without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{name!r} is packed by an unusual method; make a plain (deflate) zip.")
    return parts


def _check_name(name: str) -> None:
    if name in TAKEN:
        return
    if name.endswith((".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz", ".joblib")):
        raise InputError(
            f"{name} can run code when it is loaded, so it is refused: only safetensors weights are imported."
        )
    raise InputError(f"{name!r} is not a file of an adapter, so nothing was imported. {_ADVICE}")


def _complete(names: set[str], left_out: list[str]) -> Unpacked:
    for needed in (WEIGHTS, CONFIG):
        if needed not in names:
            raise InputError(f"{needed} is missing, so there is no adapter in it. {_ADVICE}")
    return Unpacked(frozenset(names), tuple(left_out))


@contextlib.contextmanager
def _plain_file(path: str, name: str) -> Iterator[IO[bytes]]:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InputError(f"{name} is not a plain file.")
        yield file


def _check_directory_size(path: Path) -> None:
    """Refuse a zip whose table of contents is huge before ``zipfile`` reads all of it into memory."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 65_557 - 20))
        tail = file.read()
    at = tail.find(_END_OF_ZIP)
    while at >= 0:
        if len(tail) - at >= 22 and int.from_bytes(tail[at + 12 : at + 16], "little") > _MAX_DIRECTORY:
            raise InputError("The zip's table of contents is far too long for an adapter.")
        if at >= 20 and tail[at - 20 : at - 16] == _ZIP64_LOCATOR:
            raise InputError(
                "The zip is in the zip64 format for very large archives; make a plain zip of the one adapter."
            )
        at = tail.find(_END_OF_ZIP, at + 1)
