"""A file of rows, whatever its format: which it is, and what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.errors import DatasetError, NotFoundError
from studio.services.files.decoding.excel import excel_rows
from studio.services.files.decoding.json_text import JsonText, decode
from studio.services.files.decoding.layouts import rows_in
from studio.services.files.decoding.parquet import MAGIC as PARQUET_MAGIC
from studio.services.files.decoding.parquet import parquet_rows
from studio.services.files.decoding.rows import Limits, Meter, RawRow, kind_of, too_large
from studio.services.files.decoding.tables import csv_rows
from studio.services.files.decoding.text_source import GZIP_MAGIC, TextSource

ACCEPTED = "JSON, JSONL, CSV, TSV, Excel or Parquet (.json, .jsonl, .ndjson, .csv, .tsv, .xlsx, .parquet), the text ones also as .gz"
#: Rows as they are read, or the object that a JSON file holds.
Content = Iterator[RawRow] | dict[str, Any]
_ZIP_MAGIC = b"PK\x03\x04"


def check_file(path: Path, limits: Limits) -> None:
    """That ``path`` is a file of at most the limit's size.

    Raises:
        NotFoundError: it is not there.
        DatasetError: it is none, too large, or cannot be read.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DatasetError(f"{path.name} is not a file; give {ACCEPTED}.")
        if size > limits.size:
            raise too_large(path.name, limits)
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}.") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def format_of(path: Path) -> str:
    """``parquet``, ``xlsx``, ``json``, ``jsonl``, ``csv`` or ``tsv``: by the first bytes, else by the suffix.

    Raises:
        DatasetError: it is none of them, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            first = file.read(4)
    except OSError as error:
        raise _unreadable(path, error) from None
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if first.startswith(GZIP_MAGIC) and suffixes[-1:] == [".gz"]:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix == ".parquet" or first == PARQUET_MAGIC:
        return "parquet"
    if suffix == ".xlsx":
        return "xlsx"
    if suffix == ".xls":
        raise DatasetError(f"{path.name} is an old Excel file; save it as .xlsx or CSV.")
    if suffix == ".ndjson":
        return "jsonl"
    if suffix == ".txt" and first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "tsv"  # "Unicode text" of Excel
    if suffix not in (".json", ".jsonl", ".csv", ".tsv") or first == _ZIP_MAGIC:
        raise DatasetError(f"{path.name} is of no known format; give {ACCEPTED}.")
    return suffix[1:]


def read_content(path: Path, limits: Limits, unfold: bool = True) -> Content:
    """What a file holds, read as it is asked for.

    Args:
        unfold: take the rows out of a JSON object that holds some (``layouts``).

    Raises:
        NotFoundError, DatasetError: as :func:`check_file`, :func:`format_of` and the reader of its format; the message names the
            file and the line or row. Rows raise it when they are reached.
    """
    check_file(path, limits)
    form, meter = format_of(path), Meter(path.name, limits)
    if form == "parquet":
        return parquet_rows(path, meter)
    if form == "xlsx":
        return excel_rows(path, meter)
    source = TextSource(path, limits)
    if form == "json":
        return _json(JsonText(source.pieces(), meter), meter, unfold)
    if form == "jsonl":
        return _json_lines(source, meter)
    return csv_rows(source, "\t" if form == "tsv" else None, meter)


def _json(text: JsonText, meter: Meter, unfold: bool) -> Content:
    begins = text.peek()
    if begins == "[":
        return _listed(text)
    if begins != "{":
        if not begins:
            raise DatasetError(f"{meter.name} is empty.")
        raise DatasetError(f"{meter.name} holds {kind_of(text.value('it'))}; it must be a list of rows.")
    meter.held = True  # an object is read whole
    document = text.document()
    if text.peek():  # objects one after the other: JSON Lines under the name .json, as many tools write it
        return _one_by_one(document, text, meter)
    rows = rows_in(document) if unfold else None
    return document if rows is None else iter(rows)


def _listed(text: JsonText) -> Iterator[RawRow]:
    for where, value in text.items():
        yield RawRow(where, value)
    if text.peek():
        raise text.fault_here("Extra data")


def _one_by_one(first: dict[str, Any], text: JsonText, meter: Meter) -> Iterator[RawRow]:
    meter.held = False
    yield RawRow("row 1", first)
    number = 1
    while text.peek():
        number += 1
        meter.check_rows(number)
        value = text.value(f"row {number}")
        meter.add(value, f"row {number}")
        yield RawRow(f"row {number}", value)


def _json_lines(source: TextSource, meter: Meter) -> Iterator[RawRow]:
    rows = 0
    for number, line in enumerate(source.lines(), 1):
        source.new_row()
        if not line.strip():
            continue
        rows += 1
        meter.check_rows(rows)
        where = f"row {rows} (line {number})"
        value = decode(line, meter, where)
        meter.add(value, where)
        yield RawRow(where, value)
    if not rows:
        raise DatasetError(f"{meter.name} is empty.")


def _unreadable(path: Path, error: OSError) -> DatasetError:
    return DatasetError(f"{path.name} could not be read: {error.strerror}.")
