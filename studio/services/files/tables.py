"""Tables as files: CSV that a spreadsheet opens as text (a cell that would be run as a formula is defused), and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyarrow import DataType

#: The mark at the start of a CSV file without which Excel takes UTF-8 for an old code page.
BOM = "\ufeff"

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


def parquet_bytes(columns: Mapping[str, str | DataType], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A Parquet file of the rows; each column is ``text``, ``int``, ``float``, ``bool`` or a type of pyarrow's own."""
    import pyarrow
    import pyarrow.parquet

    plain = {"text": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_()}
    schema = pyarrow.schema([(name, plain[kind] if isinstance(kind, str) else kind) for name, kind in columns.items()])
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), out)
    return out.getvalue()
