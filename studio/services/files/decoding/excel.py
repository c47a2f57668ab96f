"""Rows of an Excel workbook (.xlsx). To be read in a child process: the library reads a sheet whole."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.errors import DatasetError
from studio.services.files.decoding.rows import Meter, RawRow, too_large
from studio.services.files.decoding.tables import named_rows

#: Parts of one workbook.
_MAX_PARTS = 2_000


def excel_rows(path: Path, meter: Meter) -> Iterator[RawRow]:
    """The rows of the first sheet that has some, below their header; a formula is what it was last worked out to.

    Raises:
        DatasetError: it is no sound workbook, empty, or beyond the limits; or as :func:`named_rows`.
    """
    import python_calamine

    try:
        _check(path, meter)
        book = python_calamine.CalamineWorkbook.from_path(str(path))
        for number in range(len(book.sheet_names)):
            sheet = book.get_sheet_by_index(number)
            if sheet.height:
                # blank rows above the first are among them
                yield from named_rows(enumerate(map(_plain_row, sheet.iter_rows()), 1), meter)
                return
    except (zipfile.BadZipFile, NotImplementedError, OSError, python_calamine.CalamineError) as error:
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise DatasetError(f"{path.name} is not a sound Excel workbook (.xlsx): {message[:200]}") from None
    raise DatasetError(f"{path.name} is empty.")


def _check(path: Path, meter: Meter) -> None:
    """Refuse what unpacks to more than the limit."""
    with zipfile.ZipFile(path) as parts:
        listed = parts.infolist()
    if len(listed) > _MAX_PARTS:
        raise DatasetError(f"{path.name} has {len(listed):,} parts; a workbook has at most {_MAX_PARTS:,}.")
    if sum(part.file_size for part in listed) > meter.limits.size:
        raise too_large(f"{path.name}, unpacked,", meter.limits)


def _plain_row(cells: list[Any]) -> list[Any]:
    return [_plain(cell) for cell in cells]


def _plain(cell: Any) -> Any:
    """A cell as JSON can hold it: a whole number as one (Excel knows only fractions), a date as ISO text."""
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell) if isinstance(cell, datetime.timedelta) else cell
