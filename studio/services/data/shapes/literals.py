"""Lists and objects that were written as text: a CSV of pandas holds conversations that way, and so do some JSON files."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from studio.errors import DatasetError

#: Longer texts are not parsed as Python: its parser takes some hundred times their size in memory.
_LONGEST = 1_000_000
#: How a list or object with something in it begins; ``[1]`` and ``[INST]`` are plain text.
_BEGINS = re.compile(r"(array\(\s*)?[\[{]\s*(['\"{\[(]|array\()")
_TURN_KEYS = re.compile(r"['\"](role|from|content|value)['\"]\s*:")
_ARRAY = re.compile(r"\s*array\((.*?)(?:,\s*dtype=\w+)?\)\s*", re.DOTALL)


def read_literal(text: str, where: str) -> Any:
    """The list or object that ``text`` as a whole is the notation of, as JSON or as Python prints it (numpy's arrays too);
    None where it is plain text, or a JSON object that holds no turn, which may well be somebody's answer.

    Raises:
        DatasetError: it holds turns of a conversation and cannot be read; the message starts with ``where``.
    """
    written = text.strip()
    if not _BEGINS.match(written) or written[-1] not in "])}":
        return None
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        value = _python(written)
    else:
        if isinstance(value, dict) and not _TURN_KEYS.search(written):
            return None
    if value is None and _TURN_KEYS.search(written):
        raise DatasetError(
            f"{where} looks like a list of turns written as text and cannot be read as one; save the data as JSON, JSONL or "
            "Parquet."
        )
    return value


def _python(written: str) -> Any:
    """What Python or numpy printed; None where it is not that."""
    if len(written) > _LONGEST:
        return None
    if array := _ARRAY.fullmatch(written):
        written = array[1]
    try:
        return _evaluated(written)
    except ValueError:
        pieces = _objects(written)
    try:
        return [_evaluated(piece) for piece in pieces] if pieces else None
    except ValueError:
        return None


def _evaluated(written: str) -> Any:
    """A Python literal's value. Raises ValueError where it is none."""
    try:
        value = ast.literal_eval(written)
    except (SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError("not a literal") from error
    return list(value) if isinstance(value, tuple) else value


def _objects(written: str) -> list[str]:
    """The objects of ``[{…} {…}]``: numpy puts no commas between them."""
    pieces, depth, start, quote, at = [], 0, 0, "", 1
    while at < len(written):
        char = written[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char == "{":
            start, depth = (at if depth == 0 else start), depth + 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                pieces.append(written[start : at + 1])
            elif depth < 0:
                return []
        elif depth == 0 and not char.isspace() and char not in ",]":
            return []
        at += 1
    return pieces
