"""Where the rows of a JSON document are: under one key, by column, or as the tables of pandas and of the Hub's viewer have them."""

from __future__ import annotations

import re
from typing import Any

from studio.services.files.decoding.rows import RawRow, TwiceNamed

#: Keys under which tools put their rows.
_ROW_KEYS = ("train", "data", "rows", "examples", "items", "records", "samples", "instances", "prompts")
_INDEX = re.compile(r"-?\d+")
#: What shows that a list of objects is one conversation, not a column.
_TURN_KEYS = {"role", "from"}


def rows_in(document: dict[str, Any]) -> list[RawRow] | None:
    """The rows of a document that is an object; None where it holds none, or is the studio's own (``pairs``)."""
    if "pairs" in document or isinstance(document, TwiceNamed):
        return None
    listed = [key for key, part in document.items() if isinstance(part, list)]
    keys = [key for key in _ROW_KEYS if key in listed]
    if len(keys) == 1:
        part = document[keys[0]]
        if len(listed) == 1 or (part and isinstance(part[0], dict | list)):
            return _numbered(_unfolded(part, document))
    columns = _columns(document)
    if columns is not None:
        return _numbered([dict(zip(document, values, strict=True)) for values in zip(*columns, strict=True)])
    if {"prompt", "chosen"} & set(document):
        return _numbered([document])
    return None


def _unfolded(part: list[Any], document: dict[str, Any]) -> list[Any]:
    """Rows of pandas' ``split`` orientation get their names, rows of the Hub's viewer lose their wrapping."""
    names = document.get("columns")
    if isinstance(names, list) and part and all(isinstance(row, list) and len(row) == len(names) for row in part):
        return [dict(zip(map(str, names), row, strict=True)) for row in part]
    if part and all(isinstance(row, dict) and "row_idx" in row and "row" in row for row in part):
        return [row["row"] for row in part]
    return part


def _columns(document: dict[str, Any]) -> list[list[Any]] | None:
    """The columns of a table, each as long as the others; None where the document is no table."""
    values = list(document.values())
    if not values:
        return None
    if all(isinstance(value, dict) and value and all(map(_INDEX.fullmatch, value)) for value in values):
        keys = list(values[0])
        return [list(value.values()) for value in values] if all(list(value) == keys for value in values) else None
    if not all(isinstance(value, list) and value for value in values) or any(map(_is_conversation, values)):
        return None
    return values if len({len(value) for value in values}) == 1 else None


def _is_conversation(value: list[Any]) -> bool:
    return all(isinstance(turn, dict) and _TURN_KEYS & set(turn) for turn in value)


def _numbered(values: list[Any]) -> list[RawRow]:
    return [RawRow(f"row {number}", value) for number, value in enumerate(values, 1)]
