"""Rows of cells, as CSV and Excel have them, into rows with named fields."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Any

from studio.errors import DatasetError
from studio.services.files.decoding.json_text import DECODER
from studio.services.files.decoding.rows import Meter, RawRow, too_deep
from studio.services.files.decoding.text_source import TextSource

#: The line by which Excel is told the delimiter of a file.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_DELIMITERS = ",;\t|"


def csv_rows(source: TextSource, delimiter: str | None, meter: Meter) -> Iterator[RawRow]:
    """The rows below the header; the delimiter is taken from a first line ``sep=;`` or from the header where None is given.

    Raises:
        DatasetError: it is empty or broken, names a column twice, or a row has more cells than the header; names the line.
    """
    yield from named_rows(_csv_cells(source, delimiter), meter)


def named_rows(table: Iterable[tuple[int, list[Any]]], meter: Meter) -> Iterator[RawRow]:
    """Rows of (line, cells) below their header, the first row that is not blank. Blank rows are left out, and columns without a
    name where nothing is in them.

    Raises:
        DatasetError: nothing is in it, a column is named twice, or a row has another number of cells than the header.
    """
    names: list[str] | None = None
    number = 0
    for line, cells in table:
        if not any(cell.strip() if isinstance(cell, str) else cell is not None for cell in cells):
            continue
        if names is None:
            names = _names(cells, line, meter)
            continue
        number += 1
        meter.check_rows(number)
        where = f"row {number} (line {line})"
        while len(cells) > len(names) and not cells[-1]:
            cells.pop()
        if len(cells) != len(names):
            raise DatasetError(f"{meter.name}, {where} has {len(cells)} columns; the header has {len(names)}.")
        row = {
            name or f"column {place}": _cell(cell, f"{where}: {name[:40]}", meter)
            for place, (name, cell) in enumerate(zip(names, cells, strict=True), 1)
            if name or cell
        }
        meter.add(row, where)
        yield RawRow(where, row)
    if names is None:
        raise DatasetError(f"{meter.name} is empty.")


def _names(cells: list[Any], line: int, meter: Meter) -> list[str]:
    """The names of the columns; empty where a column between others has none."""
    names = [("" if cell is None else str(cell)).strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    meter.check_columns(len(names), f"line {line}")
    seen: set[str] = set()
    for name in filter(None, names):
        if name in seen:
            raise DatasetError(f"{meter.name}: the column {name[:60]!r} occurs twice in line {line}.")
        seen.add(name)
    return names


def _cell(cell: Any, where: str, meter: Meter) -> Any:
    """A cell as it is; a conversation, which a table can only hold as JSON, as the list it is."""
    if isinstance(cell, str) and cell.lstrip().startswith("[{"):
        meter.check_text(cell, where)
        try:
            return DECODER.decode(cell)
        except RecursionError:
            raise too_deep(meter.name, where) from None
        except ValueError:
            return cell
    return cell


def _csv_cells(source: TextSource, delimiter: str | None) -> Iterator[tuple[int, list[Any]]]:
    """Each row with the line it begins in."""
    lines = source.lines()
    first = next(lines, "")
    skipped = 0
    if mark := _SEPARATOR_LINE.fullmatch(first):
        delimiter, skipped = mark[1], 1
        first = next(lines, "")
    if delimiter is None:
        delimiter = max(_DELIMITERS, key=lambda sign: _width(first, sign))
    # the library's own limit (128 KB a field) is far below ours, which the source checks
    csv.field_size_limit(max(csv.field_size_limit(), min(source.limits.row_characters, 2**31 - 1)))
    reader = csv.reader(_before(first, lines), delimiter=delimiter, strict=True)
    start = 1
    try:
        for cells in reader:
            source.new_row()
            yield start + skipped, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{source.name}, after line {start + skipped - 1}: {error}.") from None


def _before(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _width(header: str, delimiter: str) -> int:
    """How many cells a header line has with that delimiter."""
    try:
        return len(next(csv.reader([header], delimiter=delimiter), []))
    except csv.Error:
        return 0
