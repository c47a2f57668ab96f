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


@dataclass(frozen=True)
class SupportShare:
    """Measured support share: of ``n`` judged answers sampled for unseen prompts, the share on the *support* side, with
    a 95 % Wilson interval; ``abstained`` further answers were too unclear for the judge, whose cross-validated accuracy
    on the dataset's own answers is ``judge_accuracy`` over ``judge_n`` answers. ``share`` is NaN when ``n`` is 0."""

    share: float
    low: float
    high: float
    n: int
    abstained: int
    judge_accuracy: float
    judge_n: int


@dataclass(frozen=True)
class MeasureEvent:
    """The measured support share of the base (``who="base"``) or of the adapter (``who="adapter"``)."""

    who: Literal["base", "adapter"]
    step: int
    measured: SupportShare
    type: Literal["measure"] = "measure"


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
