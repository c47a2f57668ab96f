"""Pairwise comparisons made in Label Studio, as pairs and votes: its JSON export, and the flat JSON-MIN and CSV ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from studio.domain.votes import Choice, NewPair, Origin
from studio.errors import DatasetError
from studio.services.data.annotated.records import (
    ReadRecords,
    ReadVote,
    answered,
    asked,
    choice_of,
    left_out,
    listed,
    mapping,
    roles,
    user_id,
)
from studio.services.data.formats import RawRow
from studio.services.data.shapes.literals import read_literal

NAME = "comparisons of Label Studio"
_UNREAD = "annotations that name neither an answer nor a tie"
#: Columns of a flat export that are no data.
_OWN = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}


def is_label_studio(row: dict[str, Any]) -> bool:
    """Whether a row is a task of Label Studio with its annotations, or a line of a flat export."""
    if isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list):
        return True
    return {"annotation_id", "lead_time"} <= row.keys()


def read_tasks(rows: Sequence[RawRow]) -> ReadRecords:
    """Pairs and votes of tasks: regions of the kinds pairwise, choices and ranker count.

    Raises:
        DatasetError: a task has no prompt or not just two answers; the message names it and the field.
    """
    pairs: list[NewPair] = []
    places: dict[str, int] = {}
    votes: dict[tuple[int, str], ReadVote] = {}
    lost: Counter[str] = Counter()
    for row in rows:
        if not isinstance(row.value, dict) or not is_label_studio(row.value):
            raise DatasetError(f"{row.where} is no task of Label Studio: data and annotations are missing.")
        data, annotations = _task(row.value, row.where)
        prompt_name, names = roles(list(data))
        system, history, prompt = asked(data[prompt_name], f"{row.where}: {prompt_name}")
        first, second = (answered(data[name], f"{row.where}: {name}") for name in names)
        key = repr((system, history, prompt, first, second))
        if key not in places:
            places[key] = len(pairs)
            one, two = (Origin("import", name) for name in names)
            pairs.append(NewPair(prompt, first, second, one, two, "import", history, system))
        for number, annotation in enumerate(annotations, 1):
            user = user_id("label studio", str(annotation.get("completed_by") or number))
            if annotation.get("was_cancelled"):
                votes[places[key], user] = ReadVote(places[key], user, "skip")
                continue
            choice = _choice(listed(annotation.get("result")), *names)
            if choice is None:
                lost[_UNREAD] += 1
            else:
                votes[places[key], user] = ReadVote(places[key], user, choice)
        lost["predictions of models"] += len(listed(row.value.get("predictions")))
    return ReadRecords(tuple(pairs), tuple(votes.values()), "", left_out(lost), NAME, lost[_UNREAD])


def _task(row: dict[str, Any], where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a task shows, and its annotations. A line of a flat export has one, in a column of its own."""
    if isinstance(row.get("data"), dict):
        annotations = [_annotation(mapping(one)) for one in row["annotations"]]
        data = {str(k): v for k, v in row["data"].items()}
        return data, annotations
    values = {str(n): (read_literal(v, f"{where}: {n}") or v) if isinstance(v, str) else v for n, v in row.items()}
    judged = {name: value for name, value in values.items() if _selected(value) is not None and name not in _OWN}
    data = {name: value for name, value in values.items() if name not in _OWN and name not in judged}
    result = [{"value": _selected(value)} for value in judged.values()]
    return data, [{"completed_by": values.get("annotator"), "result": result}]


def _annotation(given: dict[str, Any]) -> dict[str, Any]:
    by = given.get("completed_by")
    return {**given, "completed_by": (by.get("email") or by.get("id")) if isinstance(by, dict) else by}


def _selected(value: Any) -> dict[str, Any] | None:
    """What a column of a flat export says, if it is a judgement."""
    if isinstance(value, dict):
        return value if {"selected", "choices", "ranker"} & value.keys() else None
    if isinstance(value, str) and value.strip().lower() in ("left", "right", "tie"):
        return {"selected": value}
    return None


def _choice(results: list[Any], first: str, second: str) -> Choice | None:
    for result in results:
        value = mapping(mapping(result).get("value"))
        words = [value["selected"]] if isinstance(value.get("selected"), str) else listed(value.get("choices"))
        ranked = mapping(value.get("ranker")).get("rank") or value.get("ranker")
        if isinstance(ranked, list):
            words = ranked[:1]
        choice = choice_of([str(word) for word in words], first, second)
        if choice is not None:
            return choice
    return None
