"""The pairs of an evaluation as a table: sorted by difference, filtered, with everything that says where a row is from; and that
table as a file: CSV for spreadsheets, JSON and Parquet with the exact texts."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from studio.domain.chat import BASE
from studio.domain.evaluations import Evaluation, EvaluationRow
from studio.domain.toxicity import TextScore
from studio.errors import InputError, NotFoundError
from studio.services.evaluations.rows import seed_of
from studio.services.evaluations.statistics import THRESHOLD
from studio.services.files.tables import BOM, csv_text, parquet_bytes

Format = Literal["csv", "json", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "json", "parquet")
Which = Literal["all", "better", "worse", "over", "uncovered"]

#: Transcripts on each side of best and worst.
ENDS = 3

#: Every column with its type; the first six are the course's table.
COLUMNS: dict[str, str] = {
    "query": "text",
    "response_before": "text",
    "response_after": "text",
    "reward_before": "float",
    "reward_after": "float",
    "difference": "float",
    "toxicity_before": "float",
    "toxicity_after": "float",
    "label_before": "text",
    "label_after": "text",
    "cut_before": "int",
    "cut_after": "int",
    "before": "text",
    "before_hash": "text",
    "adapter": "text",
    "adapter_hash": "text",
    "base": "text",
    "base_revision": "text",
    "base_fingerprint": "text",
    "prompt_set": "text",
    "prompt_id": "text",
    "language": "text",
    "provoking": "bool",
    "sample": "int",
    "seed": "int",
    "temperature": "float",
    "top_p": "float",
    "max_new_tokens": "int",
    "repetition_penalty": "float",
    "system_prompt": "text",
    "scorer": "text",
    "scorer_revision": "text",
    "evaluation_id": "text",
}


@dataclass(frozen=True)
class Filter:
    """Which pairs to show.

    Attributes:
        words: each of them is in the question or in one of the answers.
        which: ``better``/``worse`` by the reward, ``over`` with an answer above .5, ``uncovered`` with one not covered.
        adapter: only this one; empty: all.
        provoking: only questions made to draw a rude answer.
    """

    words: str = ""
    which: Which = "all"
    adapter: str = ""
    provoking: bool = False


def by_difference(rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
    """The rows, most improved first, those without a difference last."""
    return sorted(
        rows,
        key=lambda row: (
            row.difference is None,
            -(row.difference or 0.0),
            row.prompt_id,
            row.sample,
            row.adapter,
        ),
    )


def ends(evaluation: Evaluation) -> tuple[list[EvaluationRow], list[EvaluationRow]]:
    """The pairs that changed most for the better, and those that changed most for the worse, :data:`ENDS` each at most."""
    rows = [row for row in by_difference(evaluation.rows) if row.difference]
    best = [row for row in rows if (row.difference or 0) > 0][:ENDS]
    worst = [row for row in reversed(rows) if (row.difference or 0) < 0][:ENDS]
    return best, worst


def matching(evaluation: Evaluation, filters: Filter) -> list[EvaluationRow]:
    """The rows that pass the filter, sorted by difference."""
    provoking = provoking_ids(evaluation)
    return by_difference([row for row in evaluation.rows if _passes(row, filters, provoking)])


def provoking_ids(evaluation: Evaluation) -> frozenset[str]:
    """The ids of prompts made to draw a rude answer."""
    return frozenset(prompt.id for prompt in evaluation.spec.prompts if prompt.provoking)


def records(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Every row as a plain record with the keys of :data:`COLUMNS`, sorted by difference."""
    spec = evaluation.spec
    places = {prompt.id: place for place, prompt in enumerate(spec.prompts)}
    hashes = dict(zip((spec.before, *spec.adapters), spec.hashes, strict=True))
    same = {
        "before": "base" if spec.before == BASE else spec.before,
        "before_hash": hashes[spec.before],
        "base": spec.base.id,
        "base_revision": spec.base.revision,
        "base_fingerprint": spec.base.fingerprint,
        "prompt_set": spec.prompt_set,
        **vars(spec.sampling),
        "system_prompt": spec.system_prompt,
        "scorer": spec.scorer.name,
        "scorer_revision": spec.scorer.revision,
        "evaluation_id": evaluation.id,
    }
    made = []
    for row in by_difference(evaluation.rows):
        prompt = spec.prompts[places[row.prompt_id]]
        record = {
            **vars(row),
            **same,
            "difference": row.difference,
            "adapter_hash": hashes[row.adapter],
            "language": prompt.language,
            "provoking": prompt.provoking,
            "seed": seed_of(spec, places[row.prompt_id], row.sample),
            **_scored("before", row.before),
            **_scored("after", row.after),
        }
        made.append({name: record[name] for name in COLUMNS})
    return made


def export(evaluation: Evaluation, kind: Format) -> bytes:
    """The rows there are, sorted by difference, as a file's content.

    Raises:
        InputError: ``kind`` is no format; NotFoundError: there are no rows yet.
    """
    if kind not in FORMATS:
        raise InputError(f"format is {kind!r}; use {', '.join(FORMATS)}.")
    if not evaluation.rows:
        raise NotFoundError("This evaluation has no rows yet, so there is nothing to export.")
    rows = records(evaluation)
    if kind == "json":
        return (json.dumps(rows, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    if kind == "csv":
        return f"{BOM}{csv_text(tuple(COLUMNS), rows)}".encode()
    return parquet_bytes(COLUMNS, rows)


def file_name(evaluation: Evaluation, kind: str) -> str:
    """What to call the file: nothing of a title, which is a person's, goes into it."""
    return f"before-after-{evaluation.id}.{kind}"


def _scored(side: str, score: TextScore) -> dict[str, Any]:
    fields = {"reward": score.reward, "toxicity": score.toxicity, "label": score.label, "cut": score.cut}
    return {f"{name}_{side}": value for name, value in fields.items()}


def _passes(row: EvaluationRow, filters: Filter, provoking: Collection[str]) -> bool:
    if filters.adapter and row.adapter != filters.adapter:
        return False
    if filters.provoking and row.prompt_id not in provoking:
        return False
    text = f"{row.query}\n{row.response_before}\n{row.response_after}".casefold()
    if not all(word in text for word in filters.words.casefold().split()):
        return False
    difference = row.difference
    match filters.which:
        case "better":
            return difference is not None and difference > 0
        case "worse":
            return difference is not None and difference < 0
        case "over":
            return any((score.toxicity or 0.0) > THRESHOLD for score in (row.before, row.after))
        case "uncovered":
            return not (row.before.covered and row.after.covered)
        case _:
            return True
