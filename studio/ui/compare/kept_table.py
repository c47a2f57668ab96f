"""A before/after table as the visitor's own browser keeps it, so that a refresh does not lose it.

Like a :class:`studio.ui.compare.talk.Talk` it lives in that browser alone; what comes back is text from outside and is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from studio.domain.chat import BASE, Sampling
from studio.domain.runs import Recipe
from studio.errors import StudioError
from studio.services.compare.table import TableProgress, TableRow
from studio.ui.compare.talk import sampling_from, sampling_numbers

#: What is kept at most. A browser gives a page some five million characters for everything.
MAX_CHARACTERS = 1_000_000
_VERSION = 1


@dataclass(frozen=True)
class KeptTable:
    """A table and how it was made, whatever the page's settings say now."""

    run_id: str
    sampling: Sampling
    progress: TableProgress

    @property
    def made_with(self) -> str:
        """One line that tells which adapter answered and how."""
        return f"{self.run_id} · {self._sampled}"

    @property
    def _sampled(self) -> str:
        how = self.sampling
        drawn = (
            f"temperature {how.temperature:g}, top-p {how.top_p:g}, seed {how.seed}" if how.temperature else "greedy"
        )
        return f"{drawn} · at most {how.max_new_tokens} tokens"

    def facts(self, recipe: Recipe) -> dict[str, str]:
        """How it was made, by name; ``recipe`` is that of its run."""
        return {
            "Base": f"{recipe.base.id} {recipe.base.revision or ''}",
            "Adapter": self.run_id,
            "Sampling": self._sampled,
            "System prompt": recipe.system_prompt or "none",
        }


def store(table: KeptTable) -> dict[str, Any] | None:
    """``table`` for the browser; None for one without rows or too long to be kept."""
    progress = table.progress
    rows = [[row.id, row.prompt, *row.answers] for row in progress.rows]
    if not rows or sum(len(text) for row in rows for text in row) > MAX_CHARACTERS:
        return None
    return {
        "version": _VERSION,
        "run": table.run_id,
        "sampling": sampling_numbers(table.sampling),
        "total": progress.total,
        "finished": progress.finished,
        "note": progress.note,
        "rows": rows,
    }


def restore(value: object) -> KeptTable | None:
    """What :func:`store` wrote, checked; None where there is nothing or it is not that."""
    if not isinstance(value, dict) or value.get("version") != _VERSION:
        return None
    try:
        sampling = sampling_from(value["sampling"])
        rows = tuple(_row(entry) for entry in value["rows"])
        run_id, note, total = value["run"], value["note"], int(value["total"])
        if not isinstance(run_id, str) or not isinstance(note, str) or not 0 < len(rows) <= total:
            return None
    except (KeyError, TypeError, ValueError, OverflowError, StudioError):
        return None
    if (
        len(run_id) + len(note) > 1_000
        or sum(len(text) for r in rows for text in (r.prompt, *r.answers)) > MAX_CHARACTERS
    ):
        return None
    progress = TableProgress((BASE, run_id), len(rows), total, rows, value["finished"] is True, note)
    return KeptTable(run_id, sampling, progress)


def _row(entry: Any) -> TableRow:
    name, prompt, before, after = entry
    if not all(isinstance(text, str) for text in (name, prompt, before, after)):
        raise TypeError("not a row of text")
    return TableRow(name, prompt, (before, after))
