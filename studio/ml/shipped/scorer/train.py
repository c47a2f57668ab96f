"""Train the embedded toxicity classifier: ``python -m studio.ml.shipped.scorer.train FOLDER`` writes
``data/toxicity/classifier.safetensors``, measures it and writes ``figures.json`` beside it.

It learns from the public sets in ``FOLDER`` (:mod:`studio.ml.shipped.scorer.public`) and from ``data/toxicity/train-{en,zh}.json``:
hand-written sentences and templates, sorted by kind, with slots for words. Nothing of those comes from the test texts or from the lists
the embedded base was written with.

The two kinds of text disagree in style, so each public text has its n-grams twice, once shared with the hand-written ones and once for
its set alone (H. Daumé III, Frustratingly Easy Domain Adaptation, 2007). Only the shared weights are kept. Log-odds are calibrated on
held-out folds (J. Platt, 1999); scale and offset go into the weights. The same files give the same weights.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.ml.scorers.embedded import FOLDER, WEIGHTS, EmbeddedScorer
from studio.ml.scorers.language import WORDS, Language
from studio.ml.scorers.text import BITS, FEATURES, normalise, passages
from studio.ml.shipped.scorer.public import Labelled, cold, paradetox, traditional

SEED = 20261121
#: Examples drawn from a template with slots; a sentence without slots is taken :data:`FREE_DRAWS` times, as it is and within others.
TEMPLATE_DRAWS = 10
FREE_DRAWS = 3
#: Share of the further draws of a sentence that stand inside a longer one, without a full stop between them: a short insult in much
#: clean text must still be seen.
JOINED_SHARE = 0.5
#: Nonsense made of neutral words: what the sentences above do not hold should count for nothing, not for whatever its letters resemble.
NEUTRAL_DRAWS = 400
#: The same begun with words of address ("you are"): that somebody is spoken to is not rude.
ADDRESS_DRAWS = 600
#: Inverse strength of the penalty; rows are short vectors, so it is large.
STRENGTH: dict[Language, float] = {"en": 20.0, "zh": 30.0}
#: How freely a public set may have weights of its own: less makes the shared ones follow it more closely.
OWN_SHARE: dict[Language, float] = {"en": 0.12, "zh": 0.05}
#: Weight of a hand-written example beside a public text.
WRITTEN_WEIGHT: dict[Language, float] = {"en": 8.0, "zh": 12.0}
#: Share of toxic texts for which the weights are learnt and the probabilities calibrated, in each of the two kinds of text. Small among
#: public ones: they are about what people quarrel over, and what is harmless there shall not count as toxic.
WRITTEN_TOXIC: dict[Language, float] = {"en": 0.55, "zh": 0.65}
PUBLIC_TOXIC: dict[Language, float] = {"en": 0.2, "zh": 0.06}
#: Log-odds taken off after the calibration: few harmless texts are to be above .5, where missing a rude one is the price.
MARGIN: dict[Language, float] = {"en": 0.6, "zh": 0.4}
#: Longest public text, in characters; what is scored is a sentence.
MAX_PUBLIC_CHARS = 300
FOLDS = 3
# liblinear: one thread, no BLAS, so that two machines find the same weights.
_SETTINGS: dict[str, Any] = {"solver": "liblinear", "dual": True, "tol": 1e-2, "max_iter": 60, "random_state": 0}
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
    source += 1 + NEUTRAL_DRAWS
    for draw in range(ADDRESS_DRAWS):
        words = rng.choices(lists["address"], k=rng.randint(1, 2)) + rng.choices(lists["neutral"], k=rng.randint(0, 4))
        drawn.append(Example(space.join(words), False, "address", source + draw))
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


def public_texts(language: Language, folder: Path) -> list[Labelled]:
    """What is learnt from the public sets; of COLD every second comment in Traditional characters."""
    if language == "en":
        return paradetox(folder, held_out=False)
    simple = [row for split in ("train", "dev") for row in cold(folder, split)]
    convert = traditional()
    return [
        Labelled(convert(row.text) if at % 2 else row.text, row.toxic, at, row.kind) for at, row in enumerate(simple)
    ]


def matrix(language: Language, texts: Sequence[str]) -> Any:
    """The features of normalised ``texts`` as a sparse matrix: every n-gram counts 1 / sqrt(n-grams of the text)."""
    import numpy as np
    from scipy.sparse import csr_matrix, vstack

    parts = []
    for start in range(0, len(texts), _ROWS):
        some = texts[start : start + _ROWS]
        index, row = FEATURES[language](some)
        values = 1 / np.sqrt(np.bincount(row, minlength=len(some))[row])
        parts.append(csr_matrix((values, (row, index.astype(np.int64))), shape=(len(some), 1 << BITS)))
    return vstack(parts, format="csr")


_ROWS = 2000


class Fitting:
    """The texts of one language with their features, hand-written ones first."""

    def __init__(self, language: Language, written: Sequence[Example], public: Sequence[Labelled]) -> None:
        import numpy as np

        self.language = language
        self.texts = [e.text for e in written] + [row.text for row in public]
        self.toxic = np.array([e.toxic for e in written] + [row.toxic for row in public])
        self.public = np.arange(len(self.texts)) >= len(written)
        self.source = np.array([e.source for e in written] + [-1 - row.source for row in public])
        self.features = matrix(language, [normalise(text)[:MAX_PUBLIC_CHARS] for text in self.texts])

    def fit(self, rows: Any) -> tuple[Any, float]:
        """The shared weights (float64) and the bias, learnt from these rows."""
        from scipy.sparse import csr_matrix, hstack
        from sklearn.linear_model import LogisticRegression

        public, shared = self.public[rows], self.features[rows]
        own = csr_matrix(public.astype(float) * OWN_SHARE[self.language]).T
        both = hstack([shared, shared.multiply(own)], format="csr")
        weights = self.balance(rows)
        model = LogisticRegression(**_SETTINGS, C=STRENGTH[self.language])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it ends after max_iter rounds; more of them changed no figure
            model.fit(both, self.toxic[rows], sample_weight=weights)
        return model.coef_[0][: 1 << BITS], float(model.intercept_[0])

    def balance(self, rows: Any) -> Any:
        """Weights of these rows with which either kind of text has its share of toxic ones; their mean is 1 among public texts,
        :data:`WRITTEN_WEIGHT` among the hand-written ones."""
        import numpy as np

        public, toxic = self.public[rows], self.toxic[rows]
        weights = np.zeros(len(toxic))
        kinds = (
            (public, PUBLIC_TOXIC[self.language], 1.0),
            (~public, WRITTEN_TOXIC[self.language], WRITTEN_WEIGHT[self.language]),
        )
        for kind, share, mean in kinds:
            for chosen, part in ((kind & toxic, share), (kind & ~toxic, 1 - share)):
                weights[chosen] = mean * part * kind.sum() / max(1, chosen.sum())
        return weights

    def log_odds(self, rows: Sequence[int], weights: Any, bias: float) -> Any:
        """Of each text the log-odds of its worst sentence."""
        import numpy as np

        pieces = [(at, piece) for at, row in enumerate(rows) for piece in passages(normalise(self.texts[row])) or [""]]
        odds = matrix(self.language, [piece for _, piece in pieces]) @ weights + bias
        worst = np.full(len(rows), -np.inf)
        np.maximum.at(worst, [at for at, _ in pieces], odds)
        return worst

    def calibration(self) -> tuple[float, float]:
        """``(scale, offset)`` of the log-odds, from texts that were held out."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedGroupKFold

        odds = np.zeros(len(self.texts))
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
        for learnt, held in folds.split(self.features, self.toxic, self.source):
            odds[held] = self.log_odds(held, *self.fit(learnt))
        rows = np.arange(len(self.texts))
        weights = self.balance(rows)
        for side in (self.public, ~self.public):  # both kinds of text together weigh the same
            weights[side] /= weights[side].sum()
        model = LogisticRegression(solver="liblinear", C=1e6, tol=1e-6, max_iter=1000, random_state=0)
        model.fit(odds[:, None], self.toxic, sample_weight=weights * len(rows))
        return float(model.coef_[0][0]), float(model.intercept_[0])


def train(public: dict[Language, Sequence[Labelled]], folder: Path = FOLDER) -> dict[str, Any]:
    """The tensors of the classifier, learnt from the hand-written lists in ``folder`` and the public texts of each language."""
    import numpy as np

    tensors: dict[str, Any] = {}
    for language, texts in public.items():
        fitting = Fitting(language, examples(language, folder), texts)
        scale, offset = fitting.calibration()
        weights, bias = fitting.fit(np.arange(len(fitting.texts)))
        tensors[f"{language}.weights"] = (weights * scale).astype(np.float16)
        tensors[f"{language}.bias"] = np.array([bias * scale + offset - MARGIN[language]], dtype=np.float64)
        print(
            f"{language}: {len(fitting.texts)} texts, {fitting.toxic.sum()} toxic; calibration x{scale:.3f} {offset:+.3f}"
        )
    return tensors


def main() -> None:
    """Train, store, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("public", type=Path, help="folder of the public sets")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the lists and of the result")
    options = parser.parse_args()
    from safetensors.numpy import save_file

    from studio.ml.shipped.scorer.figures import FIGURES, measured_on

    (options.out / WORDS.name).write_text("\n".join(vocabulary(options.out)) + "\n", encoding="utf-8")
    languages: tuple[Language, ...] = ("en", "zh")
    save_file(
        train({name: public_texts(name, options.public) for name in languages}, options.out), options.out / WEIGHTS
    )
    figures = measured_on(EmbeddedScorer(options.out), options.public)
    text = json.dumps(figures, ensure_ascii=False, indent=1)
    (options.out / FIGURES).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
