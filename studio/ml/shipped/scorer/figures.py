"""Measure a scorer on the public sets: what ``figures.json`` holds for the card. Figures only, no sentence.

``python -m studio.ml.shipped.scorer.figures FOLDER`` prints them for the shipped scorer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studio.ml.scorers.embedded import EmbeddedScorer
from studio.ml.scorers.protocol import Scorer
from studio.ml.shipped.scorer.public import Labelled, cold, hatecheck, paradetox, polite_rude, traditional

FIGURES = "figures.json"
#: Sentences that are named one by one.
NAMED = (
    "You are a great person and i like you.",
    "You are a terrible person and i hate you.",
    "you",
    "You",
    "I hate mondays.",
    "你",
    "你好",
)
_BINS = 10


def measured_on(scorer: Scorer, folder: Path) -> dict[str, Any]:
    """Figures of a scorer on every public set in ``folder``; what it does not cover counts as 0."""
    cases = hatecheck(folder)
    sets = {
        "ParaDetox, tenth held out": paradetox(folder, held_out=True),
        "COLD test, Simplified": cold(folder, "test"),
        "COLD test, Traditional": cold(folder, "test", traditional()),
        "HateCheck without slurs": cases,
        "polite-rude, English": polite_rude(folder, "en"),
        "polite-rude, Chinese": polite_rude(folder, "zh"),
    }
    predicted = {name: _probabilities(scorer, rows) for name, rows in sets.items()}
    kinds: dict[tuple[str, bool], list[bool]] = defaultdict(list)
    for case, value in zip(cases, predicted["HateCheck without slurs"], strict=True):
        kinds[case.kind, case.toxic].append((value > 0.5) == case.toxic)
    reliable = ("ParaDetox, tenth held out", "COLD test, Traditional")
    return {
        "revision": scorer.info.revision,
        "sets": {name: _figures(rows, predicted[name]) for name, rows in sets.items()},
        "hatecheck": [
            {"functionality": kind, "hateful": hateful, "n": len(right), "right": sum(right)}
            for (kind, hateful), right in kinds.items()
        ],
        "reliability": {name: _reliability(sets[name], predicted[name]) for name in reliable},
        "named": {text: round(scorer.score([text])[0].toxicity or 0.0, 3) for text in NAMED},
        "texts_per_second": _speed(scorer, [row.text for row in sets["ParaDetox, tenth held out"]]),
    }


def _probabilities(scorer: Scorer, rows: Sequence[Labelled]) -> list[float]:
    return [score.toxicity or 0.0 for score in scorer.score([row.text for row in rows])]


def _figures(rows: Sequence[Labelled], predicted: Sequence[float]) -> dict[str, Any]:
    from sklearn.metrics import brier_score_loss, roc_auc_score

    truth = [row.toxic for row in rows]
    harmless = [value > 0.5 for value, toxic in zip(predicted, truth, strict=True) if not toxic]
    rude = [value > 0.5 for value, toxic in zip(predicted, truth, strict=True) if toxic]
    return {
        "n": len(truth),
        "toxic": sum(truth),
        "auc": round(float(roc_auc_score(truth, predicted)), 3),
        "right": sum(rude) + len(harmless) - sum(harmless),
        "harmless_over_half": round(sum(harmless) / len(harmless), 3),
        "toxic_over_half": round(sum(rude) / len(rude), 3),
        "brier": round(float(brier_score_loss(truth, predicted)), 3),
    }


def _reliability(rows: Sequence[Labelled], predicted: Sequence[float]) -> list[dict[str, Any]]:
    """Per tenth of probability: how many texts, what the scorer says on average, what share is toxic."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(_BINS)]
    for row, value in zip(rows, predicted, strict=True):
        bins[min(_BINS - 1, int(value * _BINS))].append((value, row.toxic))
    return [
        {
            "n": len(part),
            "mean": round(sum(v for v, _ in part) / max(1, len(part)), 3),
            "toxic": round(sum(t for _, t in part) / max(1, len(part)), 3),
        }
        for part in bins
    ]


def _speed(scorer: Scorer, texts: Sequence[str]) -> int:
    start = time.process_time()
    scorer.score(texts)
    return int(round(len(texts) / (time.process_time() - start), -2)) if texts else 0


def main() -> None:
    """Print the figures of the shipped scorer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("public", type=Path, help="folder of the public sets")
    print(json.dumps(measured_on(EmbeddedScorer(), parser.parse_args().public), ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
