"""CSV that a spreadsheet opens as text: a cell that would be run as a formula is defused."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

#: What starts a formula in Excel, LibreOffice or Google Sheets, the full-width signs of East Asian keyboards included
#: (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_CONTROL = ("\t", "\r", "\n")


def defused(value: object) -> object:
    """The cell with an apostrophe before it where it is text that a spreadsheet would take for a formula. An answer that
    begins with "- " gets one as well; who needs the exact text takes JSON or Parquet."""
    if isinstance(value, str) and (value.startswith(_CONTROL) or value.lstrip().startswith(_FORMULA)):
        return f"'{value}"
    return value


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A header line and the rows, formulas defused; line breaks inside a cell stay, quoted."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([defused(row[column]) for column in columns] for row in rows)
    return out.getvalue()
