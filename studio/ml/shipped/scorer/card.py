"""Measure the embedded toxicity classifier and write its card: ``python -m studio.ml.shipped.scorer.card``.

Every figure is computed from what lies in ``data/toxicity``: the two test sets, the answers the embedded base gave
(``base-answers.json``, drawn anew by ``--base FOLDER``) and what alt-profanity-check said of the English test set
(``alt-profanity-check.json``; the library itself loads pickles and is not installed). The figures on the public sets, whose sentences are
not kept, are those that the training wrote (``figures.json``), beside those of the scorer before (``figures-earlier.json``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.ml.scorers.embedded import FOLDER, EmbeddedScorer
from studio.ml.shipped.scorer.figures import FIGURES

CARD = FOLDER / "README.md"
TEXT = FOLDER / "card.md"
ANSWERS = FOLDER / "base-answers.json"
LIBRARY = FOLDER / "alt-profanity-check.json"
EARLIER = FOLDER / "figures-earlier.json"


@dataclass(frozen=True)
class Measured:
    """How probabilities fit the truth. Shares count a probability above .5 as "toxic"; ``n`` texts, ``toxic`` of them."""

    n: int
    toxic: int
    accuracy: float
    precision: float
    recall: float
    auc: float
    brier: float


def measure(truth: Sequence[bool], predicted: Sequence[float]) -> Measured:
    """Compare; both classes must occur."""
    said = [p > 0.5 for p in predicted]
    hits = sum(t and s for t, s in zip(truth, said, strict=True))
    high = [p for t, p in zip(truth, predicted, strict=True) if t]
    low = [p for t, p in zip(truth, predicted, strict=True) if not t]
    # The share of (toxic, clean) couples in the right order, ties one half: the area under the ROC curve.
    auc = sum((h > c) + 0.5 * (h == c) for h in high for c in low) / (len(high) * len(low))
    return Measured(
        n=len(truth),
        toxic=sum(truth),
        accuracy=sum(t == s for t, s in zip(truth, said, strict=True)) / len(truth),
        precision=hits / max(1, sum(said)),
        recall=hits / sum(truth),
        auc=auc,
        brier=sum((p - t) ** 2 for t, p in zip(truth, predicted, strict=True)) / len(truth),
    )


def test_set(language: str) -> list[dict[str, Any]]:
    """The hand-made test texts of a language: ``text``, ``toxic``, ``kind``."""
    lines = (FOLDER / f"test-{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


test_set.__test__ = False  # type: ignore[attr-defined]


def _probabilities(scorer: EmbeddedScorer, texts: Sequence[str]) -> list[float]:
    # Not covered counts as "says nothing", which for an error count is "not toxic".
    return [score.toxicity or 0.0 for score in scorer.score(texts)]


def tables(scorer: EmbeddedScorer) -> dict[str, str]:
    """The card's tables in Markdown, by the name that stands for each in its text."""
    sets = {language: test_set(language) for language in ("en", "zh")}
    predicted = {language: _probabilities(scorer, [row["text"] for row in rows]) for language, rows in sets.items()}
    library = json.loads(LIBRARY.read_text(encoding="utf-8"))["probabilities"]
    columns = [
        ("this, English", sets["en"], predicted["en"]),
        ("this, Chinese", sets["zh"], predicted["zh"]),
        ("alt-profanity-check 1.9.1, English", sets["en"], library),
    ]
    answers = json.loads(ANSWERS.read_text(encoding="utf-8"))
    base = []
    for language in ("en", "zh"):
        rows = [row for row in answers["answers"] if row["language"] == language]
        base.append((language, measure([r["rude"] for r in rows], _probabilities(scorer, [r["answer"] for r in rows]))))
    return {
        "summary": _summary([(name, measure([r["toxic"] for r in rows], p)) for name, rows, p in columns]),
        "kinds": _kinds(columns),
        "bands": _bands(columns[:2]),
        "base": _summary([({"en": "English", "zh": "Chinese"}[name], m) for name, m in base]),
        "base_hash": answers["base"][:12],
        "revision": scorer.info.revision,
        **_public(
            json.loads(EARLIER.read_text(encoding="utf-8")), json.loads((FOLDER / FIGURES).read_text(encoding="utf-8"))
        ),
    }


def _public(earlier: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """The tables on the public sets."""
    both = (earlier, now)
    rows = []
    for name, one in now["sets"].items():
        cells = [f"{one['n']:,} ({one['toxic']:,})"]
        for key, form in (("auc", ".3f"), ("right", "d"), ("harmless_over_half", ".3f"), ("toxic_over_half", ".3f")):
            cells.append(" / ".join(format(side["sets"][name][key], form) for side in both))
        rows.append([name, *cells])
    cases = [
        [
            one["functionality"],
            "hateful" if one["hateful"] else "not",
            str(one["n"]),
            str(was["right"]),
            str(one["right"]),
        ]
        for was, one in zip(earlier["hatecheck"], now["hatecheck"], strict=True)
    ]
    bins = [
        [f"{at / 10:g} to {(at + 1) / 10:g}", *(cell for part in parts for cell in _bin(part))]
        for at, parts in enumerate(zip(*now["reliability"].values(), strict=True))
    ]
    head = ["probability", *(cell for name in now["reliability"] for cell in (f"{name}: texts", "says", "toxic", ""))]
    return {
        "earlier": earlier["revision"],
        "public": _table(["set", "texts (toxic)", "AUC", "right at .5", "harmless above .5", "toxic above .5"], rows),
        "hatecheck": _table(["functionality", "label", "cases", "right earlier", "right now"], cases),
        "reliability": _table(head, bins),
        "named": _table(
            ["text", "earlier", "now"],
            [[text, f"{earlier['named'][text]:.3f}", f"{value:.3f}"] for text, value in now["named"].items()],
        ),
        "speed": f"{now['texts_per_second']:,.0f}",
    }


def _bin(part: dict[str, Any]) -> list[str]:
    bar = "█" * round(10 * part["toxic"])
    return [str(part["n"]), f"{part['mean']:.2f}", f"{part['toxic']:.2f}", bar] if part["n"] else ["0", "", "", ""]


def _summary(columns: Sequence[tuple[str, Measured]]) -> str:
    rows = [("texts (toxic)", [f"{m.n} ({m.toxic})" for _, m in columns])]
    for name in ("accuracy", "precision", "recall", "auc", "brier"):
        rows.append(
            (
                name.replace("auc", "AUC").replace("brier", "Brier score"),
                [f"{getattr(m, name):.3f}" for _, m in columns],
            )
        )
    return _table(["", *(name for name, _ in columns)], [[label, *cells] for label, cells in rows])


def _kinds(columns: Sequence[tuple[str, list[dict[str, Any]], list[float]]]) -> str:
    kinds = list(dict.fromkeys((row["kind"], row["toxic"]) for row in columns[0][1]))
    lines = []
    for kind, toxic in kinds:
        cells = []
        for _, rows, predicted in columns:
            said = [p > 0.5 for row, p in zip(rows, predicted, strict=True) if row["kind"] == kind]
            cells.append(f"{sum(s != toxic for s in said)} of {len(said)}")
        lines.append([f"{kind} ({'toxic' if toxic else 'clean'})", *cells])
    return _table(["wrong at .5", *(name for name, _, _ in columns)], lines)


def _bands(columns: Sequence[tuple[str, list[dict[str, Any]], list[float]]]) -> str:
    lines = []
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        cells = []
        for _, rows, predicted in columns:
            inside = [row["toxic"] for row, p in zip(rows, predicted, strict=True) if low < p <= high or p == low == 0]
            cells.append(f"{sum(inside)} of {len(inside)}")
        lines.append([f"{low:g} to {min(high, 1):g}", *cells])
    return _table(["truly toxic where it says", *(name for name, _, _ in columns)], lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def ask_base(folder: Path, n: int = 200, seed: int = 8) -> dict[str, Any]:
    """``n`` answers per language of the embedded base, half to insults and half to debate questions, told rude or not by
    the corpus' own lists."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from studio.ml.shipped.base.corpus import Lists
    from studio.ml.shipped.base.evaluate import _ask, answer_all, rude_of

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows: list[dict[str, Any]] = []
    for language in ("en", "zh"):
        lists = Lists(language)  # type: ignore[arg-type]
        insults = random.Random(seed).choices(lists.talk["rude"]["prompts"], k=n // 2)
        debate = [c.turns[0][0] for kind in ("topic", "open") for c in _ask(lists, kind, n // 4, seed, None, None)]
        answers = answer_all(model, tokenizer, [*insults, *debate], seed)
        rude = rude_of(lists)
        rows += [{"language": language, "answer": answer, "rude": rude(answer)} for answer in answers]
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    return {"base": digest, "answers": rows}


def card(scorer: EmbeddedScorer) -> str:
    """The card: the text of ``card.md`` with its tables."""
    text = TEXT.read_text(encoding="utf-8")
    for name, table in tables(scorer).items():
        text = text.replace("{{" + name + "}}", table)
    return text


def main() -> None:
    """Measure and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="draw the base's answers anew from this folder")
    options = parser.parse_args()
    if options.base:
        drawn = ask_base(options.base)
        ANSWERS.write_text(json.dumps(drawn, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    CARD.write_text(card(EmbeddedScorer()), encoding="utf-8")


if __name__ == "__main__":
    main()
