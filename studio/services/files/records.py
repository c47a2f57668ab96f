"""Typed records in files: checked JSON, atomic replacement, append-only lines read incrementally. No torch, no gradio."""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import logging
import math
import os
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from studio.errors import InputError
from studio.services.files.atomic import replacing
from studio.services.files.plain import plain_file, unreadable

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Bytes beyond which a file is no record: the largest, a run's data, is far smaller.
MAX_RECORD_BYTES = 64 << 20
#: Bytes of lines that are read at once: a run of a million steps writes as much.
MAX_LINES_BYTES = 256 << 20
_LARGEST_NUMBER = 1e15
_DEEPEST = 20


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def parse(kind: type[T], data: Any, where: str) -> T:
    """``data`` (as decoded from JSON) as a frozen type; unknown keys are ignored, so newer files stay readable.

    Raises:
        InputError: a field is missing or of a wrong type; the message names ``where`` and the field.
    """
    try:
        checked: T = _adapter(cast(Any, kind)).validate_python(data)
        return checked
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the record"
        raise InputError(f"{where}: {field}: {first['msg']}.") from None


def finite(value: float) -> float | None:
    """A number as JSON can hold it: None for NaN and infinity."""
    return value if math.isfinite(value) else None


def sane_json(text: bytes, where: str) -> Any:
    """Decoded JSON; numbers beyond any sense, absurdly deep nesting and text that is no Unicode are refused, so that they
    break nothing later. ``where`` names it in messages.

    Raises:
        InputError: it is not such JSON.
    """
    try:
        value = json.loads(text)
        _check_sane(value, where)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {str(error)[:200]}.") from None
    return value


def read_json(path: Path, where: str = "") -> Any:
    """:func:`sane_json` of a file; ``where`` names it in messages (by default its folder and name).

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is not such JSON, larger than ``MAX_RECORD_BYTES``, no plain file or not readable.
    """
    where = where or f"{path.parent.name}/{path.name}"
    with plain_file(path, where) as file:
        if os.fstat(file.fileno()).st_size > MAX_RECORD_BYTES:
            raise InputError(f"{where} is larger than {MAX_RECORD_BYTES >> 20} MB; that is no record.")
        try:
            text = file.read()
        except OSError as error:
            raise unreadable(where, error) from error
    return sane_json(text, where)


def read_record(kind: type[T], path: Path) -> T:
    """The record in a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it cannot be read, is not JSON, or not such a record.
    """
    return parse(kind, read_json(path), f"{path.parent.name}/{path.name}")


def write_record(path: Path, record: Any) -> None:
    """Replace ``path`` by the JSON of a dataclass or plain data, so that a reader sees the old or the new, never a half.

    Raises:
        OSError: the disk is full or not writable; the old file is untouched.
    """
    data = dataclasses.asdict(record) if dataclasses.is_dataclass(record) and not isinstance(record, type) else record
    with replacing(path) as out:
        out.write(json.dumps(data, ensure_ascii=False, indent=1).encode())


class LineWriter:
    """Appends one JSON object a line. A line is written by one call, so a reader never meets two interleaved."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 - lives as long as the writer
        size = self._file.seek(0, os.SEEK_END)
        if size:
            # A killed writer may have left half a line; ours must not be glued to it.
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def write(self, record: Any) -> None:
        """Append a dataclass as one line.

        Raises:
            OSError: the disk is full.
        """
        line = json.dumps(dataclasses.asdict(record), ensure_ascii=False).encode() + b"\n"
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_lines(path: Path, offset: int = 0) -> tuple[list[bytes], int]:
    """The complete lines of ``path`` from byte ``offset`` on, and the offset to go on from.

    A line still being written (no newline yet) is left for the next call. A missing file has no lines. An offset beyond
    the end (the file was replaced by a shorter one) reads from the start.

    Raises:
        InputError: it is no plain file, not readable, or more was added than ``MAX_LINES_BYTES``.
    """
    try:
        with plain_file(path, f"{path.parent.name}/{path.name}") as file:
            size = file.seek(0, os.SEEK_END)
            if offset > size or offset < 0:
                offset = 0
            if size - offset > MAX_LINES_BYTES:
                raise InputError(f"{path.parent.name}/{path.name} is larger than {MAX_LINES_BYTES >> 20} MB.")
            file.seek(offset)
            block = file.read(size - offset)
    except FileNotFoundError:
        return [], 0
    end = block.rfind(b"\n") + 1
    return [line for line in block[:end].split(b"\n") if line], offset + end


def decode_line(line: bytes) -> dict[str, Any] | None:
    """One line as a dictionary; None (and a log entry) for what a crash left broken."""
    try:
        data = sane_json(line, "a line")
    except InputError as error:
        log.warning("skipped a broken line of %d bytes: %s", len(line), error)
        return None
    return data if isinstance(data, dict) else None


def parse_line(kind: type[T], data: dict[str, Any], where: str) -> T | None:
    """A decoded line as a frozen type; None (and a log entry) where it is not one, so that it costs only itself."""
    try:
        return parse(kind, data, where)
    except InputError as error:
        log.warning("skipped a broken line: %s", error)
        return None


def _check_sane(value: Any, where: str, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise InputError(f"{where} is nested too deeply.")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_sane(key, where, depth + 1)
            _check_sane(item, where, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_sane(item, where, depth + 1)
    elif isinstance(value, str):
        if not value.isascii():
            value.encode()  # a lone surrogate is a ValueError
    elif isinstance(value, int | float) and abs(value) > _LARGEST_NUMBER and value not in (math.inf, -math.inf):
        raise InputError(f"{where} holds a number beyond any sense.")
