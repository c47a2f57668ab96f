"""Which side does a model take? Two measures that are never mixed.

The *probe* reads likelihoods of given held-out answers. The *measured support share* lets the model answer by itself and
has a judge read the answers; it works for any two-sided dataset in any language, held-out answers or not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from studio.domain.chat import Sampling
from studio.domain.data import PreferencePair, Side
from studio.domain.events import SupportShare
from studio.ml.measure.answers import CHAT, sample_answers
from studio.ml.measure.whole import is_whole
from studio.ml.measure.wilson import wilson
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.pairs import EncodedAnswer, encode_heldout

#: The judge abstains when neither side is at least this likely.
JUDGE_CONFIDENCE = 0.6
_FOLDS = 5


def probe(
    model: Any, tokenizer: Any, pairs: Sequence[PreferencePair], system_prompt: str, max_length: int = 512
) -> tuple[float, int, float]:
    """The stance probe: ``(share, n, margin)``, see :class:`studio.domain.events.ProbeEvent`; share is NaN for no pairs."""
    encoded = encode_heldout(tokenizer, pairs, system_prompt, max_length)
    return stance_of(
        encoded, answer_log_probs(model, [answer for pair in encoded for answer in pair], pad_id(tokenizer))
    )


def stance_of(pairs: Sequence[tuple[EncodedAnswer, EncodedAnswer]], sums: Sequence[float]) -> tuple[float, int, float]:
    """``(share, n, margin)`` from the summed log-probabilities of support and oppose, pair after pair.

    A pair counts for support when its support answer has the higher log-probability per answer token; an exact tie
    counts one half. ``margin`` is the mean difference in nats per token.
    """
    if not pairs:
        return math.nan, 0, math.nan
    margins = [
        support_sum / len(support.answer_ids) - oppose_sum / len(oppose.answer_ids)
        for (support, oppose), support_sum, oppose_sum in zip(pairs, sums[::2], sums[1::2], strict=True)
    ]
    wins = sum(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in margins)
    return wins / len(margins), len(margins), sum(margins) / len(margins)


def pad_id(tokenizer: Any) -> int:
    """The id to pad with (never seen by the model: padding is on the right or masked)."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id


@dataclass(frozen=True)
class StanceJudge:
    """Tells support from oppose by the wording of a dataset's own answers (character n-grams, logistic regression).

    Attributes:
        accuracy: share judged right in cross-validation over whole pairs, of the answers it did not abstain on.
        n: how many answers that is.
        digest: names the answers it was fitted on.
    """

    accuracy: float
    n: int
    digest: str
    _model: Any

    @classmethod
    def fit(cls, pairs: Sequence[PreferencePair]) -> StanceJudge:
        """Fit on both answers of every pair and cross-validate, a pair never split between folds.

        Raises:
            ValueError: fewer than two pairs.
        """
        if len(pairs) < 2:
            raise ValueError(f"A stance judge needs at least two pairs, got {len(pairs)}.")
        texts = [text for pair in pairs for text in (pair.support, pair.oppose)]
        sides: list[Side] = ["support", "oppose"] * len(pairs)
        judged = right = 0
        folds = min(_FOLDS, len(pairs))
        for fold in range(folds):
            kept = [index for index in range(len(texts)) if (index // 2) % folds != fold]
            left = [index for index in range(len(texts)) if (index // 2) % folds == fold]
            model = _classifier().fit([texts[i] for i in kept], [sides[i] for i in kept])
            for verdict, index in zip(_judge(model, [texts[i] for i in left]), left, strict=True):
                judged += verdict is not None
                right += verdict == sides[index]
        digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
        return cls(right / judged if judged else math.nan, judged, digest, _classifier().fit(texts, sides))

    def judge(self, texts: Sequence[str]) -> list[Side | None]:
        """The side of each text, None where the judge is unsure (empty texts always)."""
        return _judge(self._model, texts)


def measure_support(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    judge: StanceJudge,
    system_prompt: str,
    samples_per_prompt: int,
    seed: int,
    sampling: Sampling = CHAT,
    max_new_tokens: int = 64,
    cancelled: Callable[[], bool] = lambda: False,
) -> SupportShare:
    """Sample answers as ``sampling`` says, judge each, and count.

    Every prompt is asked ``samples_per_prompt`` times; the same seed gives the same answers. Once ``cancelled`` is true
    the answers drawn so far are counted.
    """
    answers = sample_answers(
        model,
        tokenizer,
        [prompt for prompt in prompts for _ in range(samples_per_prompt)],
        system_prompt,
        seed=seed,
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        cancelled=cancelled,
    )
    return judged_share(answers, judge)


def judged_share(answers: Sequence[str], judge: StanceJudge) -> SupportShare:
    """What ``judge`` finds in sampled answers, counted."""
    verdicts = judge.judge(answers)
    support, n = verdicts.count("support"), len(verdicts) - verdicts.count(None)
    low, high = wilson(support, n)
    return SupportShare(
        support / n if n else math.nan,
        low,
        high,
        n,
        verdicts.count(None),
        judge.accuracy,
        judge.n,
        sum(map(is_whole, answers)),
    )


def _classifier() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    # Two to four characters: a word's stem in English, a word in Chinese, with no word splitting to get wrong. C is large
    # because tf-idf rows are short vectors: at 1 every probability stays near one half. No intercept: it would push
    # texts with little evidence, a small model's odd answers above all, to the side with the plainer wording.
    return make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(2, 4), sublinear_tf=True, lowercase=True),
        LogisticRegression(C=20.0, fit_intercept=False, max_iter=1000),
    )


def _judge(model: Any, texts: Sequence[str]) -> list[Side | None]:
    if not texts:
        return []
    classes: list[Side] = list(model.classes_)
    verdicts: list[Side | None] = []
    for text, row in zip(texts, model.predict_proba(list(texts)), strict=True):
        best = int(row.argmax())
        verdicts.append(classes[best] if text.strip() and row[best] >= JUDGE_CONFIDENCE else None)
    return verdicts
