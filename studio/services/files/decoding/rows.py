"""Raw rows of a file, and the bounds within which they are read."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from studio.errors import DatasetError

#: Rows of one file, where ``STUDIO_MAX_ROWS`` does not say otherwise.
MAX_ROWS = 2_000_000
#: Objects and lists inside one another, in one row.
MAX_DEPTH = 32
MAX_COLUMNS = 1_000
#: Values in one row, as far as commas in its text tell.
MAX_VALUES = 100_000
#: Characters of one row as text.
MAX_ROW_CHARACTERS = 4_000_000
#: Seconds of computing that reading one file may take, for each so many of its rows.
SECONDS, ROWS_IN_TIME = 60.0, 100_000
_LOOK_EVERY = 256
#: Rows at the head of a file that whoever reads it row by row may keep, to tell by them what all are.
HEAD = 1_000


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as the file has it: ``where`` names it for a person (``row 3 (line 4)``), ``value`` is what it holds."""

    where: str
    value: Any


class TwiceNamed(dict[str, Any]):
    """An object in which the key ``twice`` occurs more than once, so that one of its values would be lost."""

    twice: str = ""


@dataclass(frozen=True)
class Limits:
    """Bounds on one file.

    Attributes:
        size: bytes of the file, of its text unpacked, and of memory: that of its first :data:`HEAD` rows, of each further one, and of
            all that are held at once (:func:`held`); each for itself.
        rows: rows of the file, or members of one of its lists.
        seconds: of computing, for each ``seconds_rows`` rows.
        way_out: what to do about a file that is too large, for the end of a sentence.
        row_characters: of one row as text.
    """

    size: int
    rows: int = MAX_ROWS
    seconds: float = SECONDS
    seconds_rows: int = ROWS_IN_TIME
    row_characters: int = MAX_ROW_CHARACTERS
    way_out: str = "split it, or raise STUDIO_MAX_UPLOAD_MB"

    def computing(self, rows: int) -> float:
        """Seconds of computing that so many rows may take."""
        return self.seconds * (1 + rows // self.seconds_rows)


#: For files the studio wrote itself: what was let in once stays readable when a limit is lowered later.
UNLIMITED = Limits(sys.maxsize, sys.maxsize, float(2**31 - 1), sys.maxsize, sys.maxsize)


class Meter:
    """Counts what was read of one file, and refuses what goes beyond its limits. ``held``: all of it is kept, not only its head."""

    def __init__(self, name: str, limits: Limits, held: bool = False) -> None:
        self.name, self.limits, self.held = name, limits, held
        self._size = 0
        self._values = 0
        self._began = time.thread_time()

    def add(self, value: Any, where: str) -> None:
        """Count ``value``, one row or one value of a column.

        Raises:
            DatasetError: it is nested too deep, has too many fields, or all that was read so far takes too much memory or time.
        """
        if self.limits is UNLIMITED:
            return
        size, open_values = sys.getsizeof(value), [(value, 1)]
        while open_values:
            item, depth = open_values.pop()
            if isinstance(item, dict):
                self._check(len(item), depth, where)
                for key, held in item.items():
                    size += sys.getsizeof(key) + sys.getsizeof(held)
                    if isinstance(held, dict | list):
                        open_values.append((held, depth + 1))
                    if not (isinstance(key, str) and (key.isascii() or _whole(key))):
                        raise DatasetError(f"{self.name}, {where}: the name of a field holds half a character.")
            elif isinstance(item, list):
                self._check(0, depth, where)
                for held in item:
                    size += sys.getsizeof(held)
                    if isinstance(held, dict | list):
                        open_values.append((held, depth + 1))
        self._size = size + (self._size if self.held or self._values < HEAD else 0)
        if self._size > self.limits.size:
            raise too_large(f"{self.name}, unpacked,", self.limits, f" at {where}")
        self._values += 1
        if self._values % _LOOK_EVERY == 0 and time.thread_time() - self._began > self.limits.computing(self._values):
            raise too_slow(self.name, self.limits)

    def check_text(self, text: str, where: str, begin: int = 0) -> None:
        """That a row's text, from ``begin`` on, is no more than a row may be, before values are made of it.

        Raises:
            DatasetError: it is too long, or has too many values.
        """
        if len(text) - begin > self.limits.row_characters:
            raise row_too_long(self.name, where, self.limits.row_characters)
        if len(text) - begin > MAX_VALUES and self.limits is not UNLIMITED and text.count(",", begin) > MAX_VALUES:
            raise DatasetError(
                f"{self.name}, {where} has more than {MAX_VALUES:,} values; a row has at most that many."
            )

    def check_rows(self, count: int) -> None:
        """Raises DatasetError where there are more than the limit."""
        if count > self.limits.rows:
            raise DatasetError(
                f"{self.name} has more than {self.limits.rows:,} rows; split it, or raise STUDIO_MAX_ROWS."
            )

    def check_columns(self, count: int, where: str) -> None:
        """Raises DatasetError where there are more than a table may have."""
        if count > MAX_COLUMNS:
            raise DatasetError(f"{self.name}, {where} has {count:,} columns; at most {MAX_COLUMNS:,} are read.")

    def _check(self, fields: int, depth: int, where: str) -> None:
        self.check_columns(fields, where)
        if depth > MAX_DEPTH:
            raise too_deep(self.name, where)


def held(rows: Iterable[RawRow], name: str, limits: Limits) -> list[RawRow]:
    """All rows.

    Raises:
        DatasetError: together they take more memory than the limit.
    """
    meter, kept = Meter(name, limits, held=True), []
    for row in rows:
        meter.add(row.value, row.where)
        kept.append(row)
    return kept


def too_large(what: str, limits: Limits, where: str = "") -> DatasetError:
    """``what`` is over the limit of bytes."""
    return DatasetError(f"{what} is over the limit of {limits.size / 1_000_000:g} MB{where}; {limits.way_out}.")


def too_slow(name: str, limits: Limits) -> DatasetError:
    """Reading took longer than it may."""
    return DatasetError(f"{name} takes more than {limits.seconds:g} seconds of computing to read; split it.")


def too_deep(name: str, where: str) -> DatasetError:
    """``where`` is nested too deep."""
    return DatasetError(
        f"{name}, {where} is not usable JSON: lists and objects lie more than {MAX_DEPTH} deep in one another."
    )


def row_too_long(name: str, where: str, characters: int) -> DatasetError:
    """One row has more than ``characters``."""
    return DatasetError(f"{name}, {where} has more than {characters:,} characters; a row has at most that many.")


def kind_of(value: Any) -> str:
    """What a value is, in words a person reads in a message."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing (null)"
    if isinstance(value, bool):
        return f"true/false ({value})"
    if isinstance(value, int | float):
        return f"a number ({value})"
    if isinstance(value, list | tuple):
        return "a list"
    return "an object" if isinstance(value, dict) else f"of type {type(value).__name__}"


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
