"""Many rows in a Parquet file, written and read a part at a time, so that their number takes no memory."""

from __future__ import annotations

import bisect
import itertools
import json
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar, cast, overload

from studio.domain.data import Message, PreferencePair, RatedAnswer
from studio.errors import DatasetError

#: Rows of one dataset that are held in memory, and kept as JSON, at most; and the weight of all of them.
HELD, HELD_WEIGHT = 20_000, 40_000_000
#: Rows that are written and read at once, and their weight.
_GROUP, _GROUP_WEIGHT = 2_000, 4_000_000
_TURN = 200
_TEXTS = ("id", "prompt", "support", "oppose")
_ABOUT = b"alignment-studio"
#: What a row is: a pair, an answer with a thumb, or a prompt alone.
R = TypeVar("R", bound=PreferencePair | RatedAnswer | str)
#: A row as the file has it: id, prompt, answers of two sides, turns. An answer with a thumb stands on one side alone, that of *support*
#: where it was liked; a prompt has neither side, nor an id.
_Cells = tuple[str | None, str, str | None, str | None, tuple[Message, ...]]


class RowWriter:
    """Writes rows into a Parquet file. The file is whole once :meth:`close` has been called.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, file: IO[bytes]) -> None:
        import pyarrow
        import pyarrow.parquet

        turns = pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())]))
        self._schema = pyarrow.schema([*((name, pyarrow.string()) for name in _TEXTS), ("history", turns)])
        self._table = pyarrow.parquet.ParquetWriter(file, self._schema, compression="zstd", use_dictionary=False)
        self._batch: list[_Cells] = []
        self._weight = 0

    def through(self, rows: Iterable[R]) -> Iterator[R]:
        """The rows, each written on its way."""
        for row in rows:
            cells = _cells(row)
            self._batch.append(cells)
            self._weight += _weight(cells)
            if len(self._batch) == _GROUP or self._weight > _GROUP_WEIGHT:
                self._write()
            yield row

    def close(self, about: Mapping[str, Any]) -> None:
        """Write what is left, and ``about``, plain data that :attr:`KeptRows.about` gives back."""
        if self._batch:
            self._write()
        self._table.add_key_value_metadata({_ABOUT: json.dumps(about, ensure_ascii=False).encode()})
        self._table.close()

    def _write(self) -> None:
        import pyarrow

        *columns, histories = zip(*self._batch, strict=True)
        turns = [[{"role": t.role, "content": t.content} for t in history] for history in histories]
        arrays = [
            pyarrow.array(values, kind.type) for values, kind in zip((*columns, turns), self._schema, strict=True)
        ]
        self._table.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))
        self._batch.clear()
        self._weight = 0


class KeptRows(Sequence[R]):
    """Rows of a Parquet file that :class:`RowWriter` wrote: a slice is another view of it, and what is read of it is a row group at a
    time. Safe to read from several threads.

    Args:
        groups: the file.
        span: which of its rows these are.
    """

    def __init__(self, groups: _Groups, span: range) -> None:
        self._groups, self._span = groups, span

    @classmethod
    def open(cls, file: Path | IO[bytes]) -> KeptRows[R]:
        """All rows of a file, which stays open.

        Raises:
            DatasetError, FileNotFoundError: it is no such file, or not there.
        """
        groups = _Groups(file)
        return cls(groups, range(groups.starts[-1]))

    @property
    def about(self) -> dict[str, Any]:
        """What the file says of itself.

        Raises:
            DatasetError: nothing that this studio wrote.
        """
        return self._groups.about

    def __len__(self) -> int:
        return len(self._span)

    @overload
    def __getitem__(self, at: int) -> R: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[R]: ...
    def __getitem__(self, at: int | slice) -> R | Sequence[R]:
        if isinstance(at, slice):
            return KeptRows(self._groups, self._span[at])
        return cast(R, self._groups.row(self._span[at]))

    def __iter__(self) -> Iterator[R]:
        return map(self._groups.row, self._span)


class _Groups:
    """The row groups of a file; the newest one read stays. ``starts``: the row at which each begins, and the number of all."""

    def __init__(self, file: Path | IO[bytes]) -> None:
        import pyarrow
        import pyarrow.parquet

        self._name = file.name if isinstance(file, Path) else tempfile.gettempdir()
        try:
            # no buffering of whole columns ahead: only what is asked for is read
            self._file = pyarrow.parquet.ParquetFile(file, pre_buffer=False)
        except FileNotFoundError:
            raise
        except (pyarrow.ArrowException, OSError) as error:
            raise self._broken(error) from None
        described = self._file.metadata
        sizes = (described.row_group(number).num_rows for number in range(described.num_row_groups))
        self.starts = list(itertools.accumulate(sizes, initial=0))
        self._lock = threading.Lock()
        self._newest: tuple[int, tuple[Any, ...]] = (0, ())

    @property
    def about(self) -> dict[str, Any]:
        """See :attr:`KeptRows.about`."""
        try:
            about = json.loads((self._file.metadata.metadata or {})[_ABOUT])
        except (KeyError, ValueError) as error:
            raise self._broken(error) from None
        return dict(about)

    def row(self, number: int) -> Any:
        """The row of that number, from 0."""
        begin, rows = self._newest
        if not 0 <= number - begin < len(rows):
            with self._lock:
                begin, rows = self._newest = self._read(bisect.bisect_right(self.starts, number) - 1)
        return rows[number - begin]

    def _read(self, group: int) -> tuple[int, tuple[Any, ...]]:
        import pyarrow

        try:
            table = self._file.read_row_group(group, use_threads=False)
            columns = [table.column(name).to_pylist() for name in (*_TEXTS, "history")]
        except (pyarrow.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
            raise self._broken(error) from None
        return self.starts[group], tuple(map(_row, *columns))

    def _broken(self, error: Exception) -> DatasetError:
        first = (str(error) or type(error).__name__).splitlines()[0]
        return DatasetError(f"{self._name} is not a dataset of this studio: {first[:200]}")


class _View(Sequence[R]):
    """Some of the rows of a sequence, by their places in it, each as ``change`` makes it."""

    def __init__(self, rows: Sequence[R], places: Sequence[int], change: Callable[[R], R] | None = None) -> None:
        self._rows, self._places, self._change = rows, places, change

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> R: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[R]: ...
    def __getitem__(self, at: int | slice) -> R | Sequence[R]:
        if isinstance(at, slice):
            return _View(self._rows, self._places[at], self._change)
        row = self._rows[self._places[at]]
        return self._change(row) if self._change else row


def picked(rows: Sequence[R], places: Sequence[int]) -> Sequence[R]:
    """The rows at these places; those of a file stay there."""
    return tuple(rows[at] for at in places) if isinstance(rows, tuple | list) else _View(rows, places)


def changed(rows: Sequence[R], change: Callable[[R], R]) -> Sequence[R]:
    """Each row as ``change`` makes it; those of a file when they are asked for."""
    return tuple(map(change, rows)) if isinstance(rows, tuple | list) else _View(rows, range(len(rows)), change)


def gathered(rows: Iterator[R]) -> Sequence[R]:
    """The rows in their order: in memory, or, beyond :data:`HELD`, in a file without a name that is gone once nobody reads it.

    Raises:
        DatasetError: there is no room for it.
    """
    first, all_of_them = first_held(rows)
    if all_of_them:
        return first
    rows = itertools.chain(first, rows)
    del first  # they are let go as they are written
    file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as it is read
    try:
        writer = RowWriter(file)
        for _ in writer.through(rows):
            pass
        writer.close({})
    except OSError as error:
        raise DatasetError(
            f"The rows could not be written to {tempfile.gettempdir()} ({error.strerror or error}); make room there, or choose "
            "another folder for TMPDIR."
        ) from None
    return KeptRows.open(file)


def first_held(rows: Iterable[R]) -> tuple[tuple[R, ...], bool]:
    """The first of the rows, until they are one more than may be held in memory, and whether they are all."""
    first: list[R] = []
    weight = 0
    for row in rows:
        first.append(row)
        weight += _weight(_cells(row))
        if len(first) > HELD or weight > HELD_WEIGHT:
            return tuple(first), False
    return tuple(first), True


def _cells(row: PreferencePair | RatedAnswer | str) -> _Cells:
    if isinstance(row, str):
        return None, row, None, None, ()
    if isinstance(row, PreferencePair):
        return row.id, row.prompt, row.support, row.oppose, row.history
    sides = (row.completion, None) if row.liked else (None, row.completion)
    return row.id, row.prompt, *sides, row.history


def _row(
    name: str, prompt: str, support: str | None, oppose: str | None, turns: list[dict[str, Any]]
) -> PreferencePair | RatedAnswer | str:
    history = tuple(Message(**turn) for turn in turns)
    if support is not None and oppose is not None:
        return PreferencePair(name, prompt, support, oppose, history)
    answer = oppose if support is None else support
    return prompt if answer is None else RatedAnswer(name, prompt, answer, support is not None, history)


def _weight(cells: _Cells) -> int:
    """About the bytes that a row takes: its characters, and what each of its turns takes besides."""
    _, prompt, support, oppose, history = cells
    turns = sum(len(turn.content) + _TURN for turn in history)
    return len(prompt) + len(support or "") + len(oppose or "") + turns
