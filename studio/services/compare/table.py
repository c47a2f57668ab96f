"""A before/after table: its rows, how far it is, its records for files."""

from __future__ import annotations

from dataclasses import dataclass

from studio.domain.chat import Blend, is_base, named_base
from studio.services.strength import at_strength, blended_name, one_each

#: Keys of a record: the base's answer and, behind it what tells several apart, an adapter's.
BASE_KEY, ADAPTER_KEY = "response_from_original_model", "response_from_trained_model"


@dataclass(frozen=True)
class TableRow:
    """One test prompt and the answer of each pane, in the order of the panes."""

    id: str
    prompt: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class TableProgress:
    """A before/after table as far as it is filled. ``rows`` holds whole rows only, ``done`` counts them, ``note`` says
    what is going on where that is not plain (waiting, loading); ``strengths`` are the panes', all 1 where there are none, ``blends`` likewise."""

    panes: tuple[str, ...]
    done: int
    total: int
    rows: tuple[TableRow, ...]
    finished: bool
    note: str = ""
    strengths: tuple[float, ...] = ()
    blends: tuple[Blend | None, ...] = ()


def table_records(table: TableProgress) -> list[dict[str, str]]:
    """A table as plain records for CSV and JSON: ``id, prompt, response_from_original_model,
    response_from_trained_model``; with several bases their key is repeated with the base's id behind it where it was named, with several
    adapters the last key with the run id behind it, then a strength other than 1."""
    bases = sum(map(is_base, table.panes))
    several = len(table.panes) - bases > 1 or any(table.blends)
    blends = table.blends or (None,) * len(table.panes)
    names = [
        f"{BASE_KEY}{f'_{base}' if bases > 1 and (base := named_base(pane)) else ''}"
        if is_base(pane)
        else f"{ADAPTER_KEY}{f'_{blended_name(pane, blend)}' * several}{at_strength(strength).replace(' ', '_')}"
        for pane, strength, blend in zip(table.panes, one_each(table.strengths, len(table.panes)), blends, strict=True)
    ]
    return [{"id": row.id, "prompt": row.prompt, **dict(zip(names, row.answers, strict=True))} for row in table.rows]
