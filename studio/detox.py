"""The types of a detox run: reinforcement learning away from toxic answers, and what it tells while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RewardTerm:
    """One part of the reward: ``weight`` times the reward of the scorer of that name (see ``studio/toxicity.py``)."""

    scorer: str
    weight: float = 1.0


@dataclass(frozen=True)
class DetoxSettings:
    """Hyper-parameters of a detox run. Presets live in ``services/presets.py``.

    ``algorithm`` is ``rloo`` (REINFORCE leave-one-out, Ahmadian et al. 2024) or ``grpo`` (Shao et al. 2024). A step samples
    ``generations`` answers to each of ``prompts_per_step`` prompts at ``temperature``, each at most ``max_new_tokens`` long;
    ``beta`` is the weight of the KL divergence to the model the run started from. The reward is the weighted sum of
    ``rewards``. ``max_seconds`` > 0 ends the run after that many seconds of training instead of after ``steps``.
    """

    algorithm: Literal["rloo", "grpo"] = "rloo"
    rewards: tuple[RewardTerm, ...] = (RewardTerm("embedded"),)
    learning_rate: float = 3e-3
    beta: float = 0.05
    prompts_per_step: int = 4
    generations: int = 8
    steps: int = 24
    max_seconds: float = 0.0
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 64
    warmup_ratio: float = 0.0
    scheduler: str = "constant"
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 512
    seed: int = 42
    load_in_4bit: bool = False
    sample_every: int = 4


@dataclass(frozen=True)
class DetoxEvent:
    """One step of a detox run; means over the step's answers.

    Attributes:
        reward: the weighted sum; ``reward_sd`` its standard deviation over the answers; ``terms`` the mean of each term
            before weighting, in the order of the settings.
        toxicity: mean probability of the first term that knows one; NaN where none does, or none of the answers is covered.
        uncovered: share of answers that a scorer did not cover (they get the step's mean reward, that is no push).
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
