"""The reward of a detox run: what the scorers say of a step's answers, made into one number an answer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from studio.domain.toxicity import TextScore
from studio.errors import StudioError, TrainingError
from studio.ml.scorers.protocol import Scorer

#: An answer that the first knowing scorer gives a toxicity above this counts as rude.
RUDE = 0.5


@dataclass(frozen=True)
class Term:
    """A scorer and its weight in the reward; rewards beyond plus or minus ``clip`` are cut (0: none is)."""

    scorer: Scorer
    weight: float = 1.0
    clip: float = 0.0


@dataclass(frozen=True)
class Scored:
    """A step's answers scored.

    Attributes:
        rewards: one number an answer, ready to learn from.
        terms: mean of each term over the answers it covers, before clipping and weighting; NaN where it covers none.
        toxicity: mean over the answers covered by the first term that knows one; NaN without.
        uncovered: share of answers that some scorer does not cover, those without words left out.
        scores: the scores of each term, ``[term][answer]``.
    """

    rewards: tuple[float, ...]
    terms: tuple[float, ...]
    toxicity: float
    uncovered: float
    scores: tuple[tuple[TextScore, ...], ...]

    @property
    def spread(self) -> float:
        """Standard deviation of the rewards."""
        return statistics.pstdev(self.rewards)

    @property
    def mean(self) -> float:
        """Mean reward."""
        return statistics.fmean(self.rewards)


def score_answers(terms: Sequence[Term], prompts: Sequence[str], answers: Sequence[str], group: int) -> Scored:
    """Score ``answers`` to ``prompts``, ``group`` of them in a row to the same prompt.

    What a scorer does not cover gets, from that scorer, the mean of the covered answers to the same prompt (of the whole
    step where there are none): a leave-one-out baseline then gives it no push. An answer without words would otherwise be the
    safest thing to say: it gets the worst reward of the step and a standard deviation less.

    Raises:
        TrainingError: a scorer failed, or gave something that is no number.
    """
    scores_by_term = [_ask(term, prompts, answers) for term in terms]
    empty = [not answer.strip() for answer in answers]
    totals = [0.0] * len(answers)
    for term, scores in zip(terms, scores_by_term, strict=True):
        for index, value in enumerate(_filled(term, scores, empty, group)):
            totals[index] += term.weight * value
    worded = [total for total, is_empty in zip(totals, empty, strict=True) if not is_empty]
    if worded and len(worded) < len(totals):
        floor = min(worded) - (statistics.pstdev(worded) or 1.0)
        totals = [floor if is_empty else total for total, is_empty in zip(totals, empty, strict=True)]
    missed = sum(
        not is_empty and not all(scores[index].covered for scores in scores_by_term)
        for index, is_empty in enumerate(empty)
    )
    return Scored(
        rewards=tuple(totals),
        terms=tuple(_mean([score.reward for score in scores]) for scores in scores_by_term),
        toxicity=next((mean for scores in scores_by_term if not math.isnan(mean := _toxicity(scores))), math.nan),
        uncovered=missed / len(answers),
        scores=tuple(map(tuple, scores_by_term)),
    )


def total_reward(terms: Sequence[Term], scores: Sequence[TextScore]) -> float | None:
    """The reward of one answer from the scores that the terms gave it; None unless all of them cover it."""
    values = [_value(term, score) for term, score in zip(terms, scores, strict=True)]
    if any(value is None for value in values):
        return None
    return sum(term.weight * value for term, value in zip(terms, values, strict=True) if value is not None)


def toxicity_of(scores: Sequence[TextScore]) -> float | None:
    """The toxicity of one answer: of the first term that knows one."""
    return next((score.toxicity for score in scores if score.toxicity is not None), None)


def _ask(term: Term, prompts: Sequence[str], answers: Sequence[str]) -> list[TextScore]:
    name = term.scorer.info.name
    try:
        scores = term.scorer.score(answers, prompts)
    except StudioError as error:
        raise TrainingError(f"The scorer {name} failed, so the run cannot go on: {error}") from error
    except Exception as error:
        raise TrainingError(
            f"The scorer {name} failed, so the run cannot go on ({type(error).__name__}: {str(error)[:200]}). Choose another "
            "scorer, or look at the run's log."
        ) from error
    if len(scores) != len(answers):
        raise TrainingError(f"The scorer {name} gave {len(scores)} scores for {len(answers)} answers. Choose another.")
    for score in scores:
        if score.reward is not None and not math.isfinite(score.reward):
            raise TrainingError(
                f"The scorer {name} gave a reward of {score.reward}, which is no number to learn from; nothing of that step "
                "was kept. Choose another scorer."
            )
    return scores


def _value(term: Term, score: TextScore) -> float | None:
    if score.reward is None or not term.clip or score.toxicity is None:
        return score.reward  # the reward of a reward run knows no zero to cut around
    return max(-term.clip, min(term.clip, score.reward))


def _filled(term: Term, scores: Sequence[TextScore], empty: Sequence[bool], group: int) -> list[float]:
    values = [None if is_empty else _value(term, score) for score, is_empty in zip(scores, empty, strict=True)]
    anywhere = _mean(values, 0.0)
    filled = []
    for start in range(0, len(values), group):
        here = values[start : start + group]
        mean = _mean(here, anywhere)
        filled += [mean if value is None else value for value in here]
    return filled


def _mean(values: Sequence[float | None], without: float = math.nan) -> float:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else without


def _toxicity(scores: Sequence[TextScore]) -> float:
    return _mean([score.toxicity for score in scores])
