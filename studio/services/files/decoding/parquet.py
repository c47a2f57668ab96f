"""Rows of a Parquet file, a few at a time. To be read in a child process: what a page of the file unpacks to is only known when
it is unpacked."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.errors import DatasetError
from studio.services.files.decoding.rows import Meter, RawRow, too_large

MAGIC = b"PAR1"
_BATCH_ROWS = 64
_BUFFER = 1 << 16
#: Bytes that a value takes at least once it is a Python object in a list.
_LEAST = 8


def parquet_rows(path: Path, meter: Meter) -> Iterator[RawRow]:
    """Every row as a dict of plain values: dates as ISO text, binary values as text where they are UTF-8 and else None.

    Raises:
        DatasetError: it is no sound Parquet file, or beyond the limits; as far as the file itself says so, before any of it is
            unpacked.
    """
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        file = pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER)
        _check(file.metadata, meter)
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            names = batch.schema.names
            for place in range(batch.num_rows):
                number += 1
                meter.check_rows(number)
                # value by value: a dictionary that says one long text a thousand times is never a thousand texts
                row = {name: _plain(batch.column(at)[place].as_py()) for at, name in enumerate(names)}
                meter.add(row, f"row {number}")
                yield RawRow(f"row {number}", row)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name} holds text that is not UTF-8 (after row {number}): {error.reason}.") from None
    except MemoryError:  # Arrow's own is one, too
        raise
    except (pyarrow.ArrowException, OSError) as error:
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise DatasetError(f"{path.name} is not a sound Parquet file: {message[:200]}") from None


def _check(metadata: Any, meter: Meter) -> None:
    """Refuse what the file's own description says is beyond the limits."""
    meter.check_rows(metadata.num_rows)
    meter.check_columns(metadata.num_columns, "the file")
    size = values = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            size += column.total_uncompressed_size
            values += column.num_values
    if max(size, values * _LEAST) > meter.limits.size:
        raise too_large(f"{meter.name}, unpacked,", meter.limits)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, dict):
        return {str(key): _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return value
