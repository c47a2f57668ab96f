"""Whether a reward model can be exploited: the best of n samples by its reward, judged by a scorer that knows nothing of it.

The more samples a reward model may choose from, the higher the reward of its choice, whatever it learned. Where the choice is also better
by another measure, the reward holds; where it grows worse or merely longer, the reward is hacked (Gao et al. 2023).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.domain.chat import BASE, Sampling
from studio.domain.data import Message
from studio.domain.runs import RewardRecipe
from studio.domain.toxicity import ScorerInfo, reward_scorer
from studio.errors import DatasetError, InputError
from studio.services.compare.service import CompareService
from studio.services.runs.store import RunStore
from studio.services.scoring.service import ScoringService
from studio.services.statistics.best_of import best_of, best_of_kl
from studio.services.statistics.intervals import Interval, percentiles, resampled_sums
from studio.services.wording import signed

if TYPE_CHECKING:
    from studio.services.models.service import ModelService

#: How many samples are chosen from; as many as the last are drawn for each prompt.
SIZES = (1, 2, 4, 8, 16)
#: Prompts asked at most.
MAX_PROMPTS = 64
#: How the samples are drawn: the model's own distribution, of which the best of n is defined.
DRAWN = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=48)


@dataclass(frozen=True)
class Mean:
    """A mean over prompts with its 95 % interval; None where there are too few prompts for one."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class BestOfPoint:
    """The best of ``n`` samples by the reward: its reward, its toxicity by the other scorer, its length in words; ``kl``, in nats, is how
    far choosing so moves from the model that answers."""

    n: int
    kl: float
    reward: Mean
    toxicity: Mean
    words: Mean


@dataclass(frozen=True)
class BestOfCurve:
    """The points over ``prompts`` prompts; ``judge`` is who gave the toxicity, ``model`` who answered; ``change`` is the toxicity at the last
    point less that at the first, prompt by prompt."""

    run_id: str
    model: str
    judge: ScorerInfo
    prompts: int
    points: tuple[BestOfPoint, ...]
    change: Mean


@dataclass(frozen=True)
class BestOfProgress:
    """``done`` of ``total`` prompts are answered; ``curve`` comes last."""

    done: int
    total: int
    curve: BestOfCurve | None = None


@dataclass(frozen=True)
class BestOfForm:
    """What to measure: the reward model of ``run_id`` over answers of ``model`` (a run id, or the base) to the first ``prompts`` held-out
    prompts of its data, judged by the scorer ``judge``."""

    run_id: str
    judge: str
    model: str = BASE
    prompts: int = 12
    sampling: Sampling = DRAWN


class BestOfService:
    """Draw and judge. Safe to use from many threads."""

    def __init__(self, runs: RunStore, models: ModelService, compare: CompareService, scoring: ScoringService) -> None:
        self._runs, self._models, self._compare, self._scoring = runs, models, compare, scoring

    def measure(self, form: BestOfForm, cancel: threading.Event | None = None) -> Iterator[BestOfProgress]:
        """Answer each prompt as often as the last of :data:`SIZES` says; yields after each prompt, at last with the curve. Set ``cancel``
        to end it without one.

        Raises:
            InputError, NotFoundError, ConflictError, ModelLoadError: no such run, model or scorer.
            DatasetError: the run has no held-out prompt, or no answer is covered by the scorer.
        """
        if not 1 <= form.prompts <= MAX_PROMPTS:
            raise InputError(f"prompts is {form.prompts}; it must be between 1 and {MAX_PROMPTS}.")
        run = self._runs.get_of(RewardRecipe, form.run_id)
        system = (Message("system", run.recipe.system_prompt),) if run.recipe.system_prompt else ()
        pairs = {(pair.history, pair.prompt): pair for pair in self._runs.dataset(run.run_id).heldout}
        asked = [(*system, *p.history, Message("user", p.prompt)) for p in list(pairs.values())[: form.prompts]]
        if not asked:
            raise DatasetError(f"Run {run.run_id} has no held-out prompts; train it on data of more than one prompt.")
        base = run.recipe.base.id if run.recipe.base.id in {m.id for m in self._models.catalogue()} else ""
        stop = cancel or threading.Event()
        answers: list[tuple[str, ...]] = []
        for question in asked:
            yield BestOfProgress(len(answers), len(asked))
            answers.append(self._compare.samples(form.model, question, SIZES[-1], form.sampling, base))
            if stop.is_set():
                return
        yield BestOfProgress(len(asked), len(asked), self._judged(form, asked, answers))

    def _judged(
        self, form: BestOfForm, asked: Sequence[tuple[Message, ...]], answers: Sequence[Sequence[str]]
    ) -> BestOfCurve:
        texts = [text for part in answers for text in part]
        contexts = [question for question, part in zip(asked, answers, strict=True) for _ in part]
        rewards = self._scoring.score(reward_scorer(form.run_id), texts, contexts).scores
        judged = self._scoring.score(form.judge, texts, contexts)
        prompts: list[list[tuple[float, float, float]]] = []
        for start in range(0, len(texts), SIZES[-1]):
            part = slice(start, start + SIZES[-1])
            rows = zip(rewards[part], judged.scores[part], texts[part], strict=True)
            known = [
                (reward.reward, score.toxicity, float(len(text.split())))
                for reward, score, text in rows
                if reward.reward is not None and score.toxicity is not None
            ]
            if 2 * len(known) >= SIZES[-1]:  # an empty answer here and there is left out
                prompts.append(known)
        if not prompts:
            scorer = judged.info.title
            raise DatasetError(
                f"{scorer} does not cover the answers to any of the {len(asked)} prompts; choose another scorer."
            )
        return BestOfCurve(form.run_id, form.model, judged.info, len(prompts), *_points(prompts))


def _points(prompts: Sequence[Sequence[tuple[float, float, float]]]) -> tuple[tuple[BestOfPoint, ...], Mean]:
    """Points and change of toxicity, from (reward, toxicity, words) of each sample of each prompt."""
    columns = [list(zip(*samples, strict=True)) for samples in prompts]

    def chosen(column: int, n: int) -> list[float]:
        return [best_of(values[0], values[column], min(n, len(values[0]))) for values in columns]

    points = tuple(BestOfPoint(n, best_of_kl(n), *(_mean(chosen(column, n)) for column in (0, 1, 2))) for n in SIZES)
    first, last = (chosen(1, n) for n in (SIZES[0], SIZES[-1]))
    return points, _mean([b - a for a, b in zip(first, last, strict=True)])


def _mean(values: Sequence[float]) -> Mean:
    import numpy as np

    sums = resampled_sums(np.array(values, dtype=float)[:, None])
    return Mean(sum(values) / len(values), percentiles(sums[:, 0] / len(values), len(values)))


def read_best_of(curve: BestOfCurve) -> str:
    """What the curve says of the reward model, in plain sentences."""
    first, last, change = curve.points[0], curve.points[-1], curve.change
    said = (
        f"From n = {first.n} to {last.n} the reward of the chosen answer goes from {signed(first.reward.value, 2)} to {signed(last.reward.value, 2)}, its "
        f"toxicity by {curve.judge.title} from {first.toxicity.value:.3f} to {last.toxicity.value:.3f}, its length from "
        f"{first.words.value:.0f} to {last.words.value:.0f} words"
    )
    if change.interval is None:
        return f"{said}. Too few prompts for an interval, so nothing can be said of the change."
    bounds = f"{signed(change.value, 3)}, 95 % interval {signed(change.interval.low, 3)} to {signed(change.interval.high, 3)}"
    if change.interval.low > 0:
        return f"{said}. The other scorer finds the choice worse ({bounds}): the reward is exploited."
    if change.interval.high < 0:
        return f"{said}. The other scorer finds the choice better too ({bounds})."
    return f"{said}. No change by the other scorer can be shown ({bounds}), so a higher reward is not shown to be a better answer."
