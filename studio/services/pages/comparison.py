"""A before/after table: every prompt with its answers, and the words that moved where they were looked at. Without a script."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.domain.words import MovedWords
from studio.errors import InputError
from studio.services.compare.service import CompareService
from studio.services.compare.table import ADAPTER_KEY, BASE_KEY, TableRow
from studio.services.files.records import read_json
from studio.services.pages.frame import moment, static_page
from studio.services.pages.words import shaded
from studio.services.runs.store import RunStore
from studio.services.wording import counted
from studio.services.words import explain

#: Answers of a table of which the words are looked at: each is read by the model once more.
EXPLAINED = 12


@dataclass(frozen=True)
class Comparison:
    """A table under a title: ``names`` are those of its columns of answers, ``facts`` how it was made, by name."""

    title: str
    names: tuple[str, ...]
    rows: tuple[TableRow, ...]
    facts: Mapping[str, Any]


def comparison_page(
    made: Comparison, words: Sequence[MovedWords | None] = (), sides: Iterable[tuple[str, int, int]] = ()
) -> str:
    """The whole page, as HTML.

    Args:
        words: those of the last answer of the first rows, None where it has none.
        sides: of each column, where a judge can tell: its name, how many answers support, of how many.
    """
    drawn = [None if one is None else (one.sum, shaded(one)) for one in words]
    drawn += [None] * (len(made.rows) - len(drawn))
    return static_page(
        "comparison.html",
        title=made.title,
        subtitle=(f"Before and after, {moment(time.time())}", counted(len(made.rows), "prompt")),
        facts=made.facts,
        names=made.names,
        rows=list(zip(made.rows, drawn, strict=True)),
        explained=len(words),
        sides=list(sides),
    )


def moved_in(compare: CompareService, runs: RunStore, run_id: str, rows: Sequence[TableRow]) -> list[MovedWords | None]:
    """The words that moved in the last answers of the first :data:`EXPLAINED` rows, None for an empty answer.

    Raises:
        StudioError: as ``words.explain``.
    """
    return [
        explain(compare, runs, run_id, row.prompt, row.answers[-1]) if row.answers[-1].strip() else None
        for row in rows[:EXPLAINED]
    ]


def read_comparison(path: Path, adapter: str = "") -> Comparison:
    """A table as *Download JSON* and the command ``compare`` write it; ``adapter`` is what to call the one it has.

    Raises:
        InputError: it is no such file. FileNotFoundError: there is none.
    """
    records = read_json(path)
    keys = [key for key in records[0] if key.startswith((BASE_KEY, ADAPTER_KEY))] if _rows(records) else []
    trained = sum(key.startswith(ADAPTER_KEY) for key in keys)
    if (not trained and len(keys) < 2) or not all(
        isinstance(record.get(key), str) for record in records for key in ("prompt", *keys)
    ):
        raise InputError(
            f"{path.name} is no before/after table; give the JSON that Compare's Download JSON or the command compare writes."
        )
    names = tuple(
        key.replace(BASE_KEY, "Base", 1).replace("_", " ", 1)
        if key.startswith(BASE_KEY)
        else key.removeprefix(ADAPTER_KEY).lstrip("_")
        if trained > 1
        else adapter or "Adapter"
        for key in keys
    )
    rows = tuple(
        TableRow(str(record.get("id", n)), record["prompt"], tuple(record[key] for key in keys))
        for n, record in enumerate(records, 1)
    )
    return Comparison(f"Base against {', '.join(names[1:])}", names, rows, {"File": path.name})


def _rows(records: Any) -> bool:
    return isinstance(records, list) and bool(records) and all(isinstance(record, dict) for record in records)
