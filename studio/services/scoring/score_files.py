"""Scored texts as other programs read them: the records of the command line and the API, CSV and JSON files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from studio.domain.toxicity import Explanation
from studio.services.files.tables import csv_text
from studio.services.scoring.service import TextScores


def score_records(scored: TextScores, why: Sequence[Explanation | None] | None = None) -> list[dict[str, Any]]:
    """``[{"text", "toxicity", "logits", "label"}, ...]``: ``toxicity`` is null where the scorer knows none (a text it does not
    cover, a reward run). With ``why`` each has ``"why": {"method", "words": [{"word", "weight"}, ...], "rest"}`` too, or null."""
    records: list[dict[str, Any]] = [
        {"text": text, "toxicity": score.toxicity, "logits": list(score.logits), "label": score.label}
        for text, score in zip(scored.texts, scored.scores, strict=True)
    ]
    for record, one in zip(records, why or (), strict=False):
        record["why"] = None if one is None else asdict(one)
    return records


def carried_by(explanation: Explanation | None, most: int = 3) -> str:
    """The words that make a text most toxic, with their weights: ``idiot +2.31, stupid +1.90``."""
    if explanation is None:
        return ""
    words = sorted((word for word in explanation.words if word.weight > 0), key=lambda word: -word.weight)
    return ", ".join(f"{word.word} {word.weight:+.2f}" for word in words[:most])


def score_csv(scored: TextScores, why: Sequence[Explanation | None] | None = None, *, header: bool = True) -> str:
    """A line a text with everything known of it, its scorer and the scorer's revision included; a column a logit. With ``why`` the words
    that carry it; without ``header`` the lines alone."""
    names = scored.info.labels or ("0",)
    logits = [f"logit {name}" for name in names]
    rows: list[dict[str, object]] = []
    for index, (text, score) in enumerate(zip(scored.texts, scored.scores, strict=True)):
        row: dict[str, object] = {
            "text": text,
            "toxicity": score.toxicity,
            "reward": score.reward,
            "label": score.label,
            "tokens left out": score.cut,
            **dict.fromkeys(logits),
            "scorer": scored.info.name,
            "revision": scored.info.revision,
        }
        if why is not None:
            row["carried by"] = carried_by(why[index])
        rows.append(row | dict(zip(logits, score.logits, strict=False)))
    columns = ["text", "toxicity", "reward", "label", "tokens left out", *logits, "scorer", "revision"]
    columns += ["carried by"] if why is not None else []
    text = csv_text(columns, rows)
    return text if header else text[len(csv_text(columns, [])) :]


def score_json(scored: TextScores) -> str:
    """The scorer once, and the records with rewards."""
    info = scored.info
    scores = [
        {**record, "reward": score.reward, "cut": score.cut}
        for record, score in zip(score_records(scored), scored.scores, strict=True)
    ]
    about = {"name": info.name, "revision": info.revision, "measures": info.measures, "labels": list(info.labels)}
    whole = {"scorer": {**about, "toxic_label": info.toxic_label}, "scores": scores}
    return json.dumps(whole, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
