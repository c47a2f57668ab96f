"""The scorer that comes with the studio: rudeness in English and Traditional Chinese, for machines without a model hub.

A linear classifier over hashed n-grams of characters (in English of words too), trained by ``studio.ml.shipped.scorer.train`` on public
labelled text and sentences of its own. What it can and cannot do is measured in ``data/toxicity/README.md``. numpy only; thousands of texts a second.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from studio.config import ROOT
from studio.domain.toxicity import EXACT, NOT_COVERED, Context, Explanation, ScorerInfo, TextScore, WordWeight
from studio.errors import ModelLoadError
from studio.ml.scorers.language import Language, languages
from studio.ml.scorers.text import BITS, FEATURES, MAX_CHARS, normalise, passages, words_of

FOLDER = ROOT / "data" / "toxicity"
WEIGHTS = "classifier.safetensors"
LABELS = ("not toxic", "toxic")
_NOT_LATIN = re.compile("[\u3000-\u9fff]+")
#: Log-odds are kept within what a softmax can show apart from 0 and 1.
_LIMIT = 15.0


class EmbeddedScorer:
    """Scores texts in English and Chinese; a text in neither is not covered. Safe to use from many threads.

    The logits are ``(-x/2, x/2)`` with the log-odds ``x`` of the most toxic sentence, so that their softmax is the probability; the reward is
    ``-x``, the log-odds of not toxic. A mixed text counts as toxic as it is in the worse of its languages.

    Raises:
        ModelLoadError: the weights are not there or damaged.
    """

    def __init__(self, path: str | Path = FOLDER) -> None:
        import numpy as np
        from safetensors import SafetensorError
        from safetensors.numpy import load

        file = Path(path) / WEIGHTS
        try:
            data = file.read_bytes()
            tensors = load(data)
            self._weights: dict[Language, Any] = {
                name: tensors[f"{name}.weights"].astype(np.float32) for name in FEATURES
            }
            self._bias: dict[Language, float] = {name: float(tensors[f"{name}.bias"][0]) for name in FEATURES}
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelLoadError(
                f"The embedded scorer's weights at {file} cannot be read ({error}). Restore data/toxicity."
            ) from error
        for language, weights in self._weights.items():
            if weights.shape != (1 << BITS,) or not np.isfinite(weights).all():
                raise ModelLoadError(
                    f"The embedded scorer's {language} weights at {file} are damaged. Restore data/toxicity."
                )
        self.info = embedded_info(hashlib.sha256(data).hexdigest())

    def score(self, texts: Sequence[str], prompts: Sequence[Context] | None = None) -> list[TextScore]:
        """What it says of each text, in order; ``prompts`` are not read. ``cut`` counts characters."""
        log_odds: list[float | None] = [None] * len(texts)
        for _, index, _, odds in self._passages(texts):
            before = log_odds[index]
            log_odds[index] = odds if before is None else max(before, odds)
        return [
            NOT_COVERED if odds is None else _text_score(odds, max(0, len(text) - MAX_CHARS))
            for text, odds in zip(texts, log_odds, strict=True)
        ]

    def explain(self, texts: Sequence[str]) -> list[Explanation | None]:
        """What carries each score: the sentence that decides, as it is read, and the share of every word in its log-odds; None where
        the text is not covered.

        Exact: the log-odds are a sum over n-grams, each n-gram's part is shared out evenly among the letters it spans. ``rest`` is what
        belongs to no word (the bias), so that all together are the log-odds.
        """
        worst: dict[int, tuple[float, Language, str]] = {}
        for language, index, piece, odds in self._passages(texts):
            if index not in worst or odds > worst[index][0]:
                worst[index] = odds, language, piece
        return [self._explained(*worst[index]) if index in worst else None for index in range(len(texts))]

    def release(self) -> None:
        """Nothing to give back: the weights are a few megabytes."""

    def _passages(self, texts: Sequence[str]) -> Iterator[tuple[Language, int, str, float]]:
        """Every sentence of every text that is covered, with its language, the text's index and its log-odds."""
        normal = [normalise(text) for text in texts]
        spoken = [languages(text) for text in normal]
        for language in self._weights:
            chosen = [
                (index, piece)
                for index in range(len(texts))
                if language in spoken[index]
                # of a mixed text the English weights read the English words alone
                for piece in passages(_NOT_LATIN.sub("\n", normal[index]) if language == "en" else normal[index])
            ]
            for (index, piece), odds in zip(chosen, self._log_odds(language, [p for _, p in chosen]), strict=True):
                yield language, index, piece, odds

    def _explained(self, odds: float, language: Language, piece: str) -> Explanation:
        import numpy as np

        read = FEATURES[language].read(piece)
        index, _, start, stop = FEATURES[language].spans([read])
        letters = np.cumsum([0, *(not letter.isspace() for letter in read)])
        width = letters[stop] - letters[start]
        share = self._weights[language][index] / math.sqrt(max(1, len(index))) / np.maximum(1, width) * (width > 0)
        # a running sum of what starts and ends at each letter gives the letter's part of all n-grams over it
        steps = np.bincount(start, weights=share, minlength=len(read) + 1)
        steps = steps - np.bincount(stop, weights=share, minlength=len(read) + 1)
        parts = np.cumsum(steps)
        words = tuple(WordWeight(read[a:b], float(parts[a:b].sum())) for a, b in words_of(read))
        return Explanation(words, odds - sum(word.weight for word in words), EXACT)

    def _log_odds(self, language: Language, pieces: Sequence[str]) -> list[float]:
        import numpy as np

        if not pieces:
            return []
        log_odds: list[float] = []
        weights = self._weights[language]
        for start in range(0, len(pieces), _BATCH):
            batch = pieces[start : start + _BATCH]
            index, row = FEATURES[language](batch)
            counts = np.bincount(row, minlength=len(batch))
            sums = np.bincount(row, weights=weights[index], minlength=len(batch))
            log_odds += (sums / np.sqrt(np.maximum(counts, 1)) + self._bias[language]).tolist()
        return log_odds


#: Passages hashed at once: bounds the memory of a 100,000-character text or of a thousand answers.
_BATCH = 512


def embedded_info(digest: str) -> ScorerInfo:
    """Who scores, for weights with this sha256."""
    return ScorerInfo(
        name="embedded",
        kind="embedded",
        title="Embedded classifier (rudeness, English and Traditional Chinese)",
        revision=digest[:12],
        measures=(
            "Rude words and sentences (insults, threats, hate, harassment, obscenity) as raters of public comments and this repository's own "
            "example texts show them; "
            "it knows wording, not meaning, and misses much irony. Its errors are listed in data/toxicity/README.md."
        ),
        languages=("en", "zh"),
        labels=LABELS,
        toxic_label="toxic",
    )


def _text_score(odds: float, cut: int) -> TextScore:
    odds = max(-_LIMIT, min(_LIMIT, odds))
    toxicity = 1 / (1 + math.exp(-odds))
    return TextScore(toxicity, -odds, (-odds / 2, odds / 2), LABELS[odds > 0], cut)
