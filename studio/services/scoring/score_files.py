"""Scored texts as other programs read them: the records of the command line and the API, CSV and JSON files."""

from __future__ import annotations

import json
from typing import Any

from studio.services.files.tables import csv_text
from studio.services.scoring.service import TextScores


def score_records(scored: TextScores) -> list[dict[str, Any]]:
    """``[{"text", "toxicity", "logits", "label"}, ...]``: ``toxicity`` is null where the scorer knows none (a text it does not
    cover, a reward run)."""
    return [
        {"text": text, "toxicity": score.toxicity, "logits": list(score.logits), "label": score.label}
        for text, score in zip(scored.texts, scored.scores, strict=True)
    ]


def score_csv(scored: TextScores) -> str:
    """A line a text with everything known of it, its scorer and the scorer's revision included; a column a logit."""
    names = scored.info.labels or tuple(str(i) for i in range(max((len(s.logits) for s in scored.scores), default=0)))
    logits = [f"logit {name}" for name in names]
    rows: list[dict[str, object]] = []
    for text, score in zip(scored.texts, scored.scores, strict=True):
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
        rows.append(row | dict(zip(logits, score.logits, strict=False)))
    columns = ["text", "toxicity", "reward", "label", "tokens left out", *logits, "scorer", "revision"]
    return csv_text(columns, rows)


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
