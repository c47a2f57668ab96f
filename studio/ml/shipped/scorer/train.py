"""Train the embedded toxicity classifier: ``python -m studio.ml.shipped.scorer.train`` writes ``data/toxicity/classifier.safetensors``.

The examples are sampled from ``data/toxicity/train-{en,zh}.json``: hand-written sentences and templates, sorted by kind, with
slots for words. The same lists and seed give the same examples. Nothing here comes from the test texts or from the lists the
embedded base was written with.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.ml.scorers.embedded import FOLDER, WEIGHTS
from studio.ml.scorers.language import WORDS, Language
from studio.ml.scorers.text import BITS, FEATURES, normalise

SEED = 20261121
#: Examples drawn from a template with slots; a sentence without slots is taken :data:`FREE_DRAWS` times, as it is and within others.
TEMPLATE_DRAWS = 10
FREE_DRAWS = 3
#: Share of the further draws of a sentence that stand inside a longer one, without a full stop between them: a short insult in much
#: clean text must still be seen.
JOINED_SHARE = 0.5
#: Nonsense made of neutral words: what the sentences above do not hold should count for nothing, not for whatever its letters resemble.
NEUTRAL_DRAWS = 400
#: Inverse strength of the penalty, chosen by cross-validation; rows are short vectors, so it is large.
STRENGTH = 30.0
FOLDS = 5
# liblinear: one thread, no BLAS, so that two machines find the same weights.
_SETTINGS: dict[str, Any] = {
    "solver": "liblinear",
    "class_weight": "balanced",
    "tol": 1e-6,
    "max_iter": 1000,
    "random_state": 0,
}
_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\{([aA])\} (\w)")
_JOINTS = {"en": (", ", " - ", " ", " and ", "; ", ", but "), "zh": ("，", "、", " ", "，而且", "，但是", "；")}


@dataclass(frozen=True)
class Example:
    """A training text. ``source`` names the template: all texts of one template stay in one fold."""

    text: str
    toxic: bool
    kind: str
    source: int


def examples(language: Language, folder: Path = FOLDER, seed: int = SEED) -> list[Example]:
    """The training texts of one language, always the same for the same lists and seed."""
    lists = json.loads((folder / f"train-{language}.json").read_text(encoding="utf-8"))
    rng = random.Random(f"{seed}-{language}")
    drawn: list[Example] = []
    plain = [t for kind in ("plain", "criticism", "disagreement", "identity") for t in lists["clean"][kind]]
    source = 0
    for side in ("toxic", "clean"):
        for kind, templates in lists[side].items():
            for template in templates:
                source += 1
                texts: set[str] = set()
                free = "{" not in template
                for draw in range(FREE_DRAWS if free else TEMPLATE_DRAWS):
                    text = _fill(template, lists["slots"], rng)
                    if draw and rng.random() < (1 if free else JOINED_SHARE):
                        text = _joined(text, _fill(rng.choice(plain), lists["slots"], rng), language, rng)
                    elif rng.random() < 0.3:
                        text = text.rstrip(".。!！")
                    texts.add(text)
                drawn += [Example(text, side == "toxic", kind, source) for text in sorted(texts)]
    space = "" if language == "zh" else " "
    for draw in range(NEUTRAL_DRAWS):
        words = rng.choices(lists["neutral"], k=rng.randint(1, 14))
        drawn.append(Example(space.join(words), False, "neutral", source + 1 + draw))
    return drawn


def _fill(template: str, slots: dict[str, list[str]], rng: random.Random) -> str:
    def word(match: re.Match[str]) -> str:
        name = match[1]
        if name in ("a", "A"):
            return match[0]
        chosen = rng.choice(slots[name.lower()])
        return chosen[:1].upper() + chosen[1:] if name[0].isupper() else chosen

    text = _SLOT.sub(word, template)
    return _ARTICLE.sub(lambda m: f"{m[1]}{'n' if m[2].lower() in 'aeiou' else ''} {m[2]}", text)


def _joined(text: str, other: str, language: Language, rng: random.Random) -> str:
    first, second = (text, other) if rng.random() < 0.5 else (other, text)
    joint = rng.choice(_JOINTS[language])
    if language == "en" and not second.startswith(("I ", "I'")):
        second = second[:1].lower() + second[1:]
    return first.rstrip(".!?。！？") + joint + second


def vocabulary(folder: Path = FOLDER) -> list[str]:
    """The words of the English lists, for telling English from other languages."""
    lists = json.loads((folder / "train-en.json").read_text(encoding="utf-8"))
    texts = [t for side in ("slots", "toxic", "clean") for part in lists[side].values() for t in part]
    words = {w for t in texts for w in re.findall(r"[a-z]+(?:'[a-z]+)?", _SLOT.sub(" ", normalise(t)))}
    return sorted(words)


def matrix(language: Language, texts: Sequence[str]) -> Any:
    """The features of ``texts`` as a sparse matrix: every n-gram counts 1 / sqrt(n-grams of the text)."""
    import numpy as np
    from scipy.sparse import csr_matrix

    index, row = FEATURES[language]([normalise(text) for text in texts])
    counts = np.bincount(row, minlength=len(texts))
    values = 1 / np.sqrt(counts[row])
    return csr_matrix((values, (row, index)), shape=(len(texts), 1 << BITS))


def fit(language: Language, drawn: Sequence[Example], strength: float = STRENGTH) -> tuple[Any, float]:
    """Weights (float32) and bias of a logistic regression, both classes weighing the same."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(**_SETTINGS, C=strength)
    model.fit(matrix(language, [e.text for e in drawn]), np.array([e.toxic for e in drawn]))
    return model.coef_[0].astype(np.float32), float(model.intercept_[0])


def cross_validate(language: Language, drawn: Sequence[Example], strength: float = STRENGTH) -> tuple[float, float]:
    """``(accuracy, log loss)`` on folds that share no template. Slots are shared, so this flatters: see the test texts."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    toxic = np.array([e.toxic for e in drawn])
    found = cross_val_predict(
        LogisticRegression(**_SETTINGS, C=strength),
        matrix(language, [e.text for e in drawn]),
        toxic,
        groups=[e.source for e in drawn],
        cv=StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0),
        method="predict_proba",
    )[:, 1]
    return float(((found > 0.5) == toxic).mean()), float(log_loss(toxic, found))


def train(folder: Path = FOLDER) -> dict[str, Any]:
    """The tensors of the classifier, trained on both languages."""
    import numpy as np

    tensors: dict[str, Any] = {}
    for language in FEATURES:
        weights, bias = fit(language, examples(language, folder))
        tensors[f"{language}.weights"] = weights
        tensors[f"{language}.bias"] = np.array([bias], dtype=np.float64)
    return tensors


def main() -> None:
    """Train, store, and print the cross-validation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the lists and of the result")
    parser.add_argument(
        "--sweep", type=float, nargs="*", default=[], help="cross-validate these strengths instead of training"
    )
    options = parser.parse_args()
    from safetensors.numpy import save_file

    for language in FEATURES:
        drawn = examples(language, options.out)
        for strength in options.sweep or [STRENGTH]:
            accuracy, loss = cross_validate(language, drawn, strength)
            toxic = sum(e.toxic for e in drawn)
            print(
                f"{language}: {len(drawn)} examples, {toxic} toxic; C={strength:g}: accuracy {accuracy:.3f}, log loss {loss:.3f}"
            )
    if not options.sweep:
        save_file(train(options.out), options.out / WEIGHTS)
        (options.out / WORDS.name).write_text("\n".join(vocabulary(options.out)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
