"""Which tool a file of annotated records comes from, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studio.services.data.annotated.arena import is_arena, read_battles
from studio.services.data.annotated.argilla import is_argilla, read_records
from studio.services.data.annotated.label_studio import is_label_studio, read_tasks
from studio.services.data.annotated.records import ReadRecords
from studio.services.data.formats import RawRow


def read_annotated(rows: Sequence[RawRow], settings: Mapping[str, Any] | None = None) -> ReadRecords | None:
    """Pairs and votes of records by Argilla, Label Studio or an arena, told by the first of them; None where they are none.

    Args:
        settings: of an Argilla dataset, where they are there.

    Raises:
        DatasetError: a record is broken; the message names it and the field.
    """
    first = rows[0].value if rows else None
    if not isinstance(first, dict):
        return None
    if settings or is_argilla(first):
        return read_records(rows, settings or {})
    if is_label_studio(first):
        return read_tasks(rows)
    return read_battles(rows) if is_arena(first) else None
