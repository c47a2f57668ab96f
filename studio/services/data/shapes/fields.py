"""A row's values by name, whatever capitals the file writes them in and however deep they lie."""

from __future__ import annotations

import functools
import math
from typing import Any

from studio.domain.data import Message
from studio.errors import DatasetError
from studio.services.data.conversations import is_turn, messages_of
from studio.services.data.formats import kind_of
from studio.services.data.shapes.literals import read_literal

#: Where an object that stands for a text keeps it.
_TEXTS = ("text", "content", "value", "full_text", "response", "instruction", "answer")


@functools.lru_cache(maxsize=4096)  # a file's rows have the same fields
def key_of(name: str) -> str:
    """A field's name for comparing: capitals do not count, nor whether words are joined by a hyphen, a space or an underline."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def is_absent(value: Any) -> bool:
    """Null, or the NaN that tables hold for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


class Fields:
    """A row's values by path: ``prompt``, or ``input.messages`` within an object.

    Args:
        row: the row; ``where`` names it in messages.
        literal: lists and objects written as text are read as what they are.
    """

    def __init__(self, row: dict[str, Any], where: str, literal: bool = True) -> None:
        self.where, self._row, self._literal = where, row, literal
        self._names: dict[str, str] = {}
        for name in row:
            key = key_of(str(name))
            if key not in self._names or name == key:  # the exact name counts where two differ in capitals only
                self._names[key] = str(name)
        for key, name in list(self._names.items()):  # a table spells what lies in an object as one name
            if key.endswith((".text", ".content", ".value")):
                self._names.setdefault(key.rpartition(".")[0], name)
        self.read: set[str] = set()

    def __contains__(self, path: str) -> bool:
        """Whether the row has something under ``path``."""
        return not is_absent(self._find(path)[0])

    @property
    def keys(self) -> set[str]:
        """The names of the row's fields, as :func:`key_of` writes them, those without a value too."""
        return set(self._names)

    def name(self, path: str) -> str:
        """``path`` as the file spells it."""
        head, dot, rest = path.partition(".")
        return self._names.get(key_of(path)) or self._names.get(key_of(head), head) + dot + rest

    def get(self, path: str) -> Any:
        """The value under ``path``; None where there is none.

        Raises:
            DatasetError: it is a conversation written as text that cannot be read.
        """
        value, top = self._find(path)
        if top:
            self.read.add(top)
        if is_absent(value):
            return None
        if self._literal and isinstance(value, str):
            literal = read_literal(value, f"{self.where}: {self.name(path)}")
            return value if literal is None else literal
        return value

    def read_as_literal(self, path: str) -> Any:
        """As :meth:`get`, a list or object written as text as what it is; None where that cannot be read."""
        try:
            return Fields(self._row, self.where).get(path)
        except DatasetError:
            return None

    def first(self, paths: tuple[str, ...]) -> str:
        """The first of ``paths`` under which there is something; empty where there is none."""
        return next((path for path in paths if path in self), "")

    def unused(self) -> dict[str, Any]:
        """What was not read, without gaps."""
        return {str(n): value for n, value in self._row.items() if str(n) not in self.read and not is_absent(value)}

    def _find(self, path: str) -> tuple[Any, str]:
        name = self._names.get(key_of(path))  # a table may spell a path as one name
        if name is not None:
            return self._row[name], name
        head, dot, rest = path.partition(".")
        name = self._names.get(key_of(head)) if dot else None
        value = self._row[name] if name is not None else None
        for step in rest.split("."):
            if isinstance(value, str) and self._literal:
                value = read_literal(value, f"{self.where}: {name}")
            if not isinstance(value, dict):
                return None, ""
            value = next((held for key, held in value.items() if key_of(str(key)) == key_of(step)), None)
        return value, name or ""


def conversation_or_text(value: Any, where: str) -> Any:
    """A prompt or an answer as a text or a list of turns: an object that is a turn, or that holds a text or turns, as that.

    Raises:
        DatasetError: a list is not one of turns, or was written as text and holds none; the message starts with ``where``.
    """
    if isinstance(value, dict):
        if is_turn(value):
            return [value]
        if isinstance(value.get("messages"), list):
            return value["messages"]
        text = next((value[key] for key in _TEXTS if isinstance(value.get(key), str)), None)
        if text is not None:
            return text
        raise DatasetError(f"{where} is an object; it must be text, or turns with role and content.")
    return value


def turns(value: Any, where: str) -> tuple[Message, ...]:
    """Earlier turns: messages, or pairs of what was asked and what was answered.

    Raises:
        DatasetError: it is neither; the message starts with ``where`` and names the turn.
    """
    if not isinstance(value, list):
        raise DatasetError(f"{where} is {kind_of(value)}; it must be a list of turns.")
    if value and all(isinstance(item, list) and len(item) == 2 for item in value):
        value = [
            {"role": role, "content": text}
            for item in value
            for role, text in zip(("user", "assistant"), item, strict=True)
            if text
        ]
    return messages_of(value, where) if value else ()
