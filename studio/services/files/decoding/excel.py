"""Rows of an Excel workbook (.xlsx). To be read in a child process: its shared texts are read whole by the library."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.errors import DatasetError
from studio.services.files.decoding.rows import MAX_COLUMNS, Meter, RawRow, too_large
from studio.services.files.decoding.tables import named_rows

#: Parts of one workbook.
_MAX_PARTS = 2_000


def excel_rows(path: Path, meter: Meter) -> Iterator[RawRow]:
    """The rows of the first sheet that has some, below their header; a formula is what it was last worked out to.

    Raises:
        DatasetError: it is no sound workbook, empty, or beyond the limits; or as :func:`named_rows`.
    """
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        _check(path, meter)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        for sheet in book.worksheets:
            cells = _cells(sheet)
            first = next(cells, None)
            if first is not None:
                yield from named_rows(_before(first, cells), meter)
                return
    except DatasetError:
        raise
    except (InvalidFileException, zipfile.BadZipFile, OSError, SyntaxError, KeyError, ValueError, TypeError, AttributeError,
            IndexError, EOFError, NotImplementedError) as error:  # fmt: skip
        # the library checks little of what it reads; a broken part comes out as any of these
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise DatasetError(f"{path.name} is not a sound Excel workbook (.xlsx): {message[:200]}") from None
    raise DatasetError(f"{path.name} is empty.")


def _check(path: Path, meter: Meter) -> None:
    """Refuse what unpacks to more than the limit: a part of a zip never gives more than it declares."""
    with zipfile.ZipFile(path) as parts:
        listed = parts.infolist()
    if len(listed) > _MAX_PARTS:
        raise DatasetError(f"{path.name} has {len(listed):,} parts; a workbook has at most {_MAX_PARTS:,}.")
    if sum(part.file_size for part in listed) > meter.limits.size:
        raise too_large(f"{path.name}, unpacked,", meter.limits)


def _cells(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """(line, cells) of every row that is not blank."""
    for line, cells in enumerate(sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS + 1), 1):
        if any(cell is not None for cell in cells):
            yield line, [_plain(cell) for cell in cells]


def _before(first: tuple[int, list[Any]], rest: Iterator[tuple[int, list[Any]]]) -> Iterator[tuple[int, list[Any]]]:
    yield first
    yield from rest


def _plain(cell: Any) -> Any:
    """An empty cell as empty text, as CSV has it; a date as ISO text."""
    if cell is None:
        return ""
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell) if isinstance(cell, datetime.timedelta) else cell
