"""JSON read value by value, so that a file of many rows is never in memory as one text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from studio.errors import DatasetError
from studio.services.files.decoding.rows import Meter, TwiceNamed, too_deep

_SPACE = re.compile(r"[ \t\r\n]*")
_PIECE = 1 << 16
#: What an unfinished number, word or escape may need at most to be told from a broken one.
_MARGIN = 32


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    marked, names = TwiceNamed(made), set()
    for name, _ in pairs:
        if name in names:
            marked.twice = name
            break
        names.add(name)
    return marked


#: The standard decoder, which also takes NaN as Python writes it; objects that name a field twice are marked.
DECODER = json.JSONDecoder(object_pairs_hook=_object)


def decode(text: str, meter: Meter, where: str) -> Any:
    """One JSON value.

    Raises:
        DatasetError: it is broken or nested too deep.
    """
    meter.check_text(text, where)
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{meter.name}, {where} is not JSON: {error.msg} (column {error.colno}).") from None
    except RecursionError:
        raise too_deep(meter.name, where) from None
    except ValueError as error:  # a number of too many digits
        raise DatasetError(f"{meter.name}, {where} is not usable JSON: {error}.") from None


class JsonText:
    """A JSON text that comes in pieces. Only one value that :meth:`value` returns has to fit into memory as text."""

    def __init__(self, pieces: Iterable[str], meter: Meter) -> None:
        self._pieces = iter(pieces)
        self._meter = meter
        self._buffer, self._at, self._ended = "", 0, False
        self._line, self._column = 1, 0  # where the buffer begins

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        if self._at < len(self._buffer) and (next_one := self._buffer[self._at]) > " ":
            return next_one
        while True:
            match = _SPACE.match(self._buffer, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if self._ended:
                return ""
            self._read_on()

    def value(self, where: str) -> Any:
        """The next value whole.

        Raises:
            DatasetError: it is broken, nested too deep or too long.
        """
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if self._ended or not self._unfinished(error):
                    raise self._fault(error.msg, error.pos) from None
            except RecursionError:
                raise too_deep(self._meter.name, where) from None
            except ValueError as error:  # a number of too many digits
                raise DatasetError(f"{self._meter.name}, {where} is not usable JSON: {error}.") from None
            else:
                # a number or word at the end of the buffer may go on
                if end < len(self._buffer) or self._ended:
                    self._at = end
                    return value
            self._meter.check_text(self._buffer, where, self._at)
            self._read_on()

    def items(self, part: str = "") -> Iterator[tuple[str, Any]]:
        """The values of the list that begins here, each with where it stands, counted."""
        self._expect("[", "Expecting value")
        number = 0
        while self.peek() != "]" or number:
            number += 1
            self._meter.check_rows(number)
            where = f"{part}row {number}"
            value = self.value(where)
            self._meter.add(value, where)
            yield where, value
            if self.peek() == "]":
                break
            self._expect(",", "Expecting ',' delimiter")
        self._expect("]", "Expecting ',' delimiter")

    def document(self) -> dict[str, Any]:
        """The object that begins here; lists and objects right in it are read member by member, each counted."""

        def check(count: int) -> None:
            self._meter.check_columns(count, "the object")

        return self._members(self._part, check, "")

    def fault_here(self, message: str) -> DatasetError:
        """What is wrong where the text goes on."""
        return self._fault(message, self._at)

    def _part(self, where: str) -> Any:
        begins = self.peek()
        if begins == "[":
            return [value for _, value in self.items(f"{where}, ")]
        if begins == "{":
            return self._members(self._counted, self._meter.check_rows, f"{where}, ")
        return self._counted(where)

    def _counted(self, where: str) -> Any:
        value = self.value(where)
        self._meter.add(value, where)
        return value

    def _members(self, read: Callable[[str], Any], check: Callable[[int], None], part: str) -> dict[str, Any]:
        self._expect("{", "Expecting value")
        made: dict[str, Any] = {}
        twice = ""
        while self.peek() != "}" or made:
            if self.peek() != '"':
                raise self.fault_here("Expecting property name enclosed in double quotes")
            key = self._counted(f"{part}a name")
            self._expect(":", "Expecting ':' delimiter")
            twice = twice or (key if key in made else "")
            made[key] = read(f"{part}{key[:40]!r}")
            check(len(made))
            if self.peek() == "}":
                break
            self._expect(",", "Expecting ',' delimiter")
        self._expect("}", "Expecting ',' delimiter")
        if not twice:
            return made
        marked = TwiceNamed(made)
        marked.twice = twice
        return marked

    def _expect(self, character: str, message: str) -> None:
        if self.peek() != character:
            raise self.fault_here(message)
        self._at += 1

    def _read_on(self) -> None:
        """Read as much again as is still to be decoded, so that a long value is looked at few times."""
        kept, passed = self._buffer[self._at :], self._buffer[: self._at]
        breaks = passed.count("\n")
        self._line += breaks
        self._column = len(passed) - passed.rfind("\n") - 1 if breaks else self._column + len(passed)
        pieces, length = [kept], 0
        while length < max(_PIECE, len(kept)):
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
                break
            pieces.append(piece)
            length += len(piece)
        self._buffer, self._at = "".join(pieces), 0

    def _unfinished(self, error: json.JSONDecodeError) -> bool:
        """Whether more text could mend it: it is at the end of what was read, or a string has no end yet."""
        return error.msg.startswith("Unterminated string") or error.pos > len(self._buffer) - _MARGIN

    def _fault(self, message: str, at: int) -> DatasetError:
        breaks = self._buffer.count("\n", 0, at)
        column = at - self._buffer.rfind("\n", 0, at) if breaks else self._column + at + 1
        return DatasetError(f"{self._meter.name} is not JSON: {message} (line {self._line + breaks}, column {column}).")
