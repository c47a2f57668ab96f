"""Which tool a file of annotated records comes from, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studio.errors import DatasetError, InputError
from studio.services.data.annotated import arena, label_studio
from studio.services.data.annotated.arena import is_arena, read_battles
from studio.services.data.annotated.argilla import is_argilla, read_records
from studio.services.data.annotated.label_studio import is_label_studio, read_tasks
from studio.services.data.annotated.records import ReadRecords
from studio.services.data.formats import RawRow

_ARGILLA = "an Argilla dataset"


def read_annotated(rows: Sequence[RawRow], name: str, settings: Mapping[str, Any] | None = None) -> ReadRecords | None:
    """Pairs and votes of records by Argilla, Label Studio or an arena, told by the first of them; None where they are none.

    Args:
        name: the file's, for messages.
        settings: of an Argilla dataset, where they are there.

    Raises:
        InputError: a record is broken; the message names the file, what it was read as, the record and the field.
    """
    first = rows[0].value if rows else None
    tool = _ARGILLA if settings and isinstance(first, dict) else tool_of(first)
    try:
        if tool == _ARGILLA:
            return read_records(rows, settings or {})
        if tool == label_studio.NAME:
            return read_tasks(rows)
        if tool == arena.NAME:
            return read_battles(rows)
    except InputError as error:
        raise DatasetError(f"{name}, read as {tool}: {error}") from None
    return None


def tool_of(first: Any) -> str:
    """The tool that wrote records of which this is the first; empty where it is none of these."""
    if not isinstance(first, dict):
        return ""
    if is_argilla(first):
        return _ARGILLA
    if is_label_studio(first):
        return label_studio.NAME
    return arena.NAME if is_arena(first) else ""
