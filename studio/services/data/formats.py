"""Files into raw rows or test prompts. How they are read within bounds is ``studio.services.files.decoding``; what the rows mean
is ``preference_rows``' business."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studio.errors import DatasetError
from studio.services.files.decoding.documents import ACCEPTED, Content, check_file, format_of, read_content
from studio.services.files.decoding.isolated import read_isolated
from studio.services.files.decoding.rows import (
    HEAD,
    MAX_ROWS,
    UNLIMITED,
    Limits,
    RawRow,
    TwiceNamed,
    held,
    kind_of,
)
from studio.services.files.decoding.text_source import TextSource
from studio.services.wording import listed

__all__ = [
    "ACCEPTED",
    "HEAD",
    "MAX_ROWS",
    "PromptFile",
    "RawRow",
    "TwiceNamed",
    "checked_object",
    "checked_text",
    "kind_of",
    "read_document",
    "read_id",
    "read_prompts",
    "read_rows",
]
#: A file of a visitor: seconds of computing, and characters of one row.
_VISITOR_S, _VISITOR_CHARACTERS = 3.0, 1_000_000
#: Formats whose libraries unpack before anything can be counted.
_ISOLATED = ("parquet", "xlsx")
#: Names of fields that are not used: how many are remembered, and how many a warning shows.
_NAMED_FIELDS, _SHOWN = 1_000, 10


def read_document(
    path: Path, max_bytes: int, max_rows: int = MAX_ROWS, of_visitor: bool = False, unfold: bool = True
) -> list[RawRow] | dict[str, Any]:
    """The rows of a file, or the object a JSON file holds at its top (our own format keeps its rows in one).

    Args:
        path: JSON, JSON Lines, CSV, TSV, Excel or Parquet; its suffix tells which.
        max_bytes: limit of the file's size, of its text unpacked and of the memory its rows take; ``sys.maxsize`` for a file
            that the studio wrote itself, which has no other limits either.
        max_rows: limit of its rows.
        of_visitor: read it in a child process, whatever its format, with less time.
        unfold: take the rows out of a JSON object that holds some: under one key, by column.

    Raises:
        NotFoundError: there is no such file.
        DatasetError: not one of the formats, beyond a limit, not UTF-8, or broken; the message names the file and the line or
            row.
        ConflictError: too many files of visitors are being read.
    """
    limits = UNLIMITED if max_bytes == sys.maxsize else Limits(max_bytes, max_rows)
    content = _content(path, limits, of_visitor, unfold)
    return content if isinstance(content, dict) else held(content, path.name, limits)


def read_rows(path: Path, max_bytes: int, max_rows: int) -> Iterator[RawRow] | dict[str, Any]:
    """As :func:`read_document`, the rows as they are asked for, so that all of them together may take any memory.

    Raises:
        NotFoundError, DatasetError: as there; rows raise it when they are reached.
    """
    return _content(path, Limits(max_bytes, max_rows), of_visitor=False)


@dataclass(frozen=True)
class PromptFile:
    """Test prompts from a file, in its order.

    Attributes:
        ids: the file's own, one for each prompt; empty where not every row has one.
    """

    prompts: tuple[str, ...]
    ids: tuple[str, ...]
    warnings: tuple[str, ...]


def read_prompts(
    path: Path,
    max_bytes: int,
    max_prompts: int | None = None,
    max_characters: int | None = None,
    of_visitor: bool = False,
) -> PromptFile:
    """Test prompts: rows with a ``prompt`` field (and an ``id``), plain strings in JSON, or a ``.txt`` with one prompt a
    line. A prompt may be an object with its ``text`` (as in RealToxicityPrompts).

    Args:
        path: as for :func:`read_document`, or a ``.txt``.
        max_bytes: limit of the file's size and of its text unpacked.
        max_prompts: refuse a file with more, without reading further.
        max_characters: refuse a longer prompt.
        of_visitor: as for :func:`read_document`.

    Raises:
        NotFoundError, ConflictError: as :func:`read_document`.
        DatasetError: as :func:`read_document`; or a prompt is missing, given twice, empty, too long or not text, or an id is neither
            text nor a whole number, naming the row; or there are too many.
    """
    limits = Limits(max_bytes)
    content = _text_lines(path, limits) if path.suffix.lower() == ".txt" else _content(path, limits, of_visitor)
    if isinstance(content, dict):
        raise DatasetError(
            f"{path.name} holds one object; test prompts are a list of prompts or of rows with a prompt."
        )
    prompts: list[str] = []
    ids: list[str] = []
    ignored: set[str] = set()
    for row in content:
        if max_prompts is not None and len(prompts) == max_prompts:
            raise DatasetError(
                f"{path.name} has more than {max_prompts:,} prompts; at most {max_prompts:,} can be read."
            )
        where, value = f"{path.name}, {row.where}", row.value
        if isinstance(value, dict):
            fields = checked_object(RawRow(where, value))
            name = next((key for key in ("prompt", *fields) if key in fields and key.casefold() == "prompt"), "")
            if not name:
                raise DatasetError(f"{where}: prompt is missing.")
            if len(ignored) < _NAMED_FIELDS:
                ignored |= set(fields) - {"id", name}
            given = read_id(fields.get("id"), f"{where}: id")
            ids += [given] if given else []
            value = fields[name]
            if isinstance(value, dict) and "text" in value:
                value = checked_object(RawRow(f"{where}: prompt", value))["text"]
        text = checked_text(value, f"{where}: prompt")
        if max_characters is not None and len(text) > max_characters:
            raise DatasetError(
                f"{path.name}, prompt {len(prompts) + 1} has {len(text):,} characters; a prompt has at most {max_characters:,}."
            )
        prompts.append(text)
    if not prompts:
        raise DatasetError(f"{path.name} holds no prompts.")
    warnings = (
        [f"{path.name}: only prompts are read, not used: {listed([field[:40] for field in sorted(ignored)], _SHOWN)}."]
        if ignored
        else []
    )
    if ids and len(ids) < len(prompts):
        warnings.append(f"{path.name}: {len(ids)} of {len(prompts)} prompts have an id, so all are numbered.")
        ids = []
    return PromptFile(tuple(prompts), tuple(ids), tuple(warnings))


def _content(path: Path, limits: Limits, of_visitor: bool, unfold: bool = True) -> Content:
    check_file(path, limits)
    if of_visitor:
        return read_isolated(
            path,
            replace(
                limits,
                seconds=_VISITOR_S,
                seconds_rows=sys.maxsize,
                row_characters=_VISITOR_CHARACTERS,
                way_out="split it",
            ),
            queued=True,
        )
    return read_isolated(path, limits) if format_of(path) in _ISOLATED else read_content(path, limits, unfold)


def _text_lines(path: Path, limits: Limits) -> Iterator[RawRow]:
    """The lines of a text file that hold something; other ends of lines than the line feed count, too."""
    check_file(path, limits)
    source = TextSource(path, limits)
    number = 0
    for lines in source.lines():
        source.new_row()
        for line in lines.splitlines():
            number += 1
            if line.strip():
                yield RawRow(f"line {number}", line)


def read_id(value: Any, where: str) -> str:
    """An id as text; empty where there is none.

    Raises:
        DatasetError: it is neither text nor a whole number.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a table with gaps counts in floats
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise DatasetError(f"{where} is {kind_of(value)}; it must be text or a whole number.")
    text = "" if value is None else str(value).strip()
    return checked_text(text, where) if text else ""


def checked_object(row: RawRow) -> dict[str, Any]:
    """The row's named fields.

    Raises:
        DatasetError: it is no object, or names a field twice.
    """
    if not isinstance(row.value, dict):
        raise DatasetError(f"{row.where} is {kind_of(row.value)}; it must be an object with named fields.")
    if isinstance(row.value, TwiceNamed):
        raise DatasetError(f"{row.where}: {row.value.twice} is given twice.")
    return row.value


def checked_text(value: Any, where: str) -> str:
    """``value`` as text without surrounding white space.

    Raises:
        DatasetError: not text, empty, or half a surrogate pair (which no file can hold as UTF-8).
    """
    if not isinstance(value, str):
        raise DatasetError(f"{where} is {kind_of(value)}; it must be text.")
    text = value.strip()
    if not text:
        raise DatasetError(f"{where} is empty.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"{where} has half a character (\\u{ord(text[error.start]):04x}) at {error.start}."
        ) from None
    return text
