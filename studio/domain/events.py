"""What a run tells while it works: the lines of its ``events.jsonl`` and ``samples.jsonl``; key ``type`` tells which class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StepEvent:
    """One optimiser step. Log-probabilities are summed over the answer's tokens, in nats (NaN in a reward run); rewards are
    beta times the log-ratio to the reference, in a reward run the head's output; means over the step's pairs. ``elapsed`` is
    seconds of training, ``eta`` seconds left."""

    step: int
    total: int
    epoch: float
    loss: float
    reward_chosen: float
    reward_rejected: float
    margin: float
    accuracy: float
    logp_chosen: float
    logp_rejected: float
    learning_rate: float
    grad_norm: float
    tokens_per_second: float
    elapsed: float
    eta: float
    type: Literal["step"] = "step"


@dataclass(frozen=True)
class ProbeEvent:
    """The stance probe on held-out pairs: ``share`` of ``n`` pairs for which *support* has the higher length-normalised
    log-likelihood, and the mean of that difference (nats per token). In a reward run: the share for which the chosen answer
    has the higher reward, and the mean margin. Exact ties count one half."""

    step: int
    share: float
    n: int
    margin: float
    elapsed: float
    type: Literal["probe"] = "probe"


@dataclass(frozen=True)
class SampleEvent:
    """One fixed prompt answered greedily at ``step`` (step 0 is the base)."""

    step: int
    prompt: str
    answer: str
    type: Literal["sample"] = "sample"


#: Share of whole answers below which an adapter is said to fall apart.
WHOLE_ENOUGH = 0.75


@dataclass(frozen=True)
class SupportShare:
    """Measured support share: of ``n`` judged answers sampled for unseen prompts, the share on the *support* side, with
    a 95 % Wilson interval; ``abstained`` further answers were too unclear for the judge, whose cross-validated accuracy
    on the dataset's own answers is ``judge_accuracy`` over ``judge_n`` answers. ``share`` is NaN when ``n`` is 0. ``whole`` of all
    these answers end in a sentence and repeat nothing over and over (None: not counted)."""

    share: float
    low: float
    high: float
    n: int
    abstained: int
    judge_accuracy: float
    judge_n: int
    whole: int | None = None

    @property
    def broken(self) -> bool:
        """Whether fewer than :data:`WHOLE_ENOUGH` of the answers are whole."""
        return self.whole is not None and self.whole < WHOLE_ENOUGH * (self.n + self.abstained)


@dataclass(frozen=True)
class MeasureEvent:
    """The measured support share of the base (``who="base"``), of the adapter (``who="adapter"``), or, where somebody asked for it later,
    of the steering vector of the run's pairs at a ``strength`` (``who="vector"``)."""

    who: Literal["base", "adapter", "vector"]
    step: int
    measured: SupportShare
    strength: float = 1.0
    type: Literal["measure"] = "measure"


@dataclass(frozen=True)
class WeightChange:
    """How far the saved adapter is from what the run started from, told once at its end: the Frobenius norm of all its updates
    together. ``norm`` 0: it equals the base (of a detox run: its start), so the run trained nothing."""

    step: int
    norm: float
    type: Literal["weight_change"] = "weight_change"


@dataclass(frozen=True)
class RewardReport:
    """How a reward run does on pairs it never saw, told once at its end (an event like the others).

    Attributes:
        hits: pairs of ``n`` whose chosen answer has the strictly higher reward; ``ties`` have equal rewards.
        low, high: 95 % Wilson interval of ``hits / n``.
        majority: share of the ``n`` that "always the side preferred more often in training" gets right (.5 for data without
            sides).
        longer: share that "the longer answer wins" gets right, equal lengths counting one half.
        margins: reward of chosen minus rejected, one a pair.
        calibration: (mean predicted probability, share right, pairs) of each bin of ``sigmoid(|margin|)``.
        dropped: training and held-out pairs that could not be used (too long), never silently.
    """

    step: int
    n: int
    hits: int
    ties: int
    low: float
    high: float
    majority: float
    longer: float
    margins: tuple[float, ...]
    calibration: tuple[tuple[float, float, int], ...]
    dropped: int
    type: Literal["reward_report"] = "reward_report"

    @property
    def learned(self) -> bool:
        """Whether the interval lies above the better baseline; only then may anybody say that something was learned."""
        return self.n > 0 and self.low > max(self.majority, self.longer)


@dataclass(frozen=True)
class DetoxEvent:
    """One step of a detox run; means over the step's answers.

    Attributes:
        reward: the weighted sum; ``reward_sd`` its standard deviation over the answers; ``terms`` the mean of each term
            before weighting, in the order of the settings.
        toxicity: mean probability of the first term that knows one; NaN where none does, or none of the answers is covered.
        uncovered: share of answers that a scorer did not cover: they get the mean reward of the other answers to their
            prompt, that is no push. Empty answers are not among them: they get a penalty of one standard deviation
            below the step's minimum.
        kl: mean over answers of the summed log-ratio to the start, in nats per answer (the k1 estimator).
        length: mean tokens of an answer; ``clipped`` share of answers cut at ``max_new_tokens``.
        distinct: distinct 3-grams over all 3-grams of the step's answers together (Li et al. 2016); falls as the model
            repeats itself.
    """

    step: int
    total: int
    epoch: float
    loss: float
    reward: float
    reward_sd: float
    terms: tuple[float, ...]
    toxicity: float
    uncovered: float
    kl: float
    length: float
    clipped: float
    distinct: float
    learning_rate: float
    grad_norm: float
    elapsed: float
    eta: float
    type: Literal["detox"] = "detox"


@dataclass(frozen=True)
class TranscriptEvent:
    """One of a few fixed prompts answered at ``step`` (0: before the first), with its reward."""

    step: int
    prompt: str
    answer: str
    reward: float | None
    toxicity: float | None
    type: Literal["transcript"] = "transcript"


@dataclass(frozen=True)
class RudeShare:
    """What one scorer says of the answers before and after; an answer is rude where its toxicity is above one half.

    Attributes:
        scorer, revision, title: who judged; ``was_reward`` whether the run was trained to please it.
        before, after: rude answers, of the ``before_n`` and ``after_n`` that the scorer covers.
        provoked_before, provoked_after (and ``_n``): the same of the answers to provoking prompts alone.
    """

    scorer: str
    revision: str
    title: str
    was_reward: bool
    before: int
    before_n: int
    after: int
    after_n: int
    provoked_before: int = 0
    provoked_before_n: int = 0
    provoked_after: int = 0
    provoked_after_n: int = 0


@dataclass(frozen=True)
class AnswerFigures:
    """What can be counted of ``n`` sampled answers without a judge: tokens a answer, share cut at the longest length, share
    without words, distinct 3-grams over all 3-grams."""

    n: int
    length: float
    clipped: float
    empty: float
    distinct: float


@dataclass(frozen=True)
class DetoxReport:
    """How a detox run does on prompts it never saw, told once at its end: the same prompts and seeds asked before (the model
    it started from) and after.

    Attributes:
        prompts: held-out prompts, ``provoking`` of them made to provoke; ``samples`` answers were drawn for each.
        shares: one for each scorer that knows a toxicity: those of the reward first, then the one that was not.
        kl: mean log-ratio to the start over the answers after, summed over an answer's tokens, in nats.
        rewards_before, rewards_after: mean of each term of the reward, NaN where nothing was covered.
    """

    step: int
    prompts: int
    provoking: int
    samples: int
    shares: tuple[RudeShare, ...]
    before: AnswerFigures
    after: AnswerFigures
    kl: float
    rewards_before: tuple[float, ...]
    rewards_after: tuple[float, ...]
    type: Literal["detox_report"] = "detox_report"

    @property
    def judged(self) -> RudeShare | None:
        """The verdict of a scorer that was not the reward; None without one."""
        return next((share for share in self.shares if not share.was_reward), None)
