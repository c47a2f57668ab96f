"""The table of an evaluation as a file: CSV for spreadsheets, JSON and Parquet with the exact texts."""

from __future__ import annotations

import io
import json
from typing import Literal

from studio.domain.evaluations import Evaluation
from studio.errors import InputError, NotFoundError
from studio.services.evaluations.table import COLUMNS, records
from studio.services.files.csv_text import csv_text

Format = Literal["csv", "json", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "json", "parquet")


def export(evaluation: Evaluation, kind: Format) -> bytes:
    """The rows there are, sorted by difference, as a file's content.

    Raises:
        InputError: ``kind`` is no format; NotFoundError: there are no rows yet.
    """
    if kind not in FORMATS:
        raise InputError(f"format is {kind!r}; use {', '.join(FORMATS)}.")
    if not evaluation.rows:
        raise NotFoundError("This evaluation has no rows yet, so there is nothing to export.")
    rows = records(evaluation)
    if kind == "json":
        return (json.dumps(rows, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    if kind == "csv":
        # with a mark at its start, or Excel takes UTF-8 for an old code page
        return f"\ufeff{csv_text(tuple(COLUMNS), rows)}".encode()
    import pyarrow
    import pyarrow.parquet

    types = {"text": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_()}
    schema = pyarrow.schema([(name, types[what]) for name, what in COLUMNS.items()])
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), out)
    return out.getvalue()


def file_name(evaluation: Evaluation, kind: str) -> str:
    """What to call the file: nothing of a title, which is a person's, goes into it."""
    return f"before-after-{evaluation.id}.{kind}"
