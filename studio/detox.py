"""The types of a detox run: reinforcement learning away from toxic answers, and what it tells while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RewardTerm:
    """One part of the reward: ``weight`` times the reward of the scorer of that name (see ``studio/toxicity.py``).

    ``revision`` is which state of it the run was queued with; a form leaves it empty.
    """

    scorer: str
    weight: float = 1.0
    revision: str = ""


@dataclass(frozen=True)
class DetoxSettings:
    """Hyper-parameters of a detox run. Presets live in ``services/presets.py``.

    ``algorithm`` is ``rloo`` (REINFORCE leave-one-out, Ahmadian et al. 2024) or ``grpo`` (Shao et al. 2024). A step samples
    ``generations`` answers to each of ``prompts_per_step`` prompts at ``temperature``, each at most ``max_new_tokens`` long;
    ``beta`` is the weight of the KL divergence to the model the run started from. The reward is the weighted sum of
    ``rewards``; ``reward_clip`` > 0 cuts each term of a toxicity scorer at plus and minus that, so that what is clean enough
    earns no more by being cleaner still. ``ordinary`` is the share of each step's prompts that are not provoking ones, where
    the run has both. ``judge`` (with its ``judge_revision``) is a scorer that is no part of the reward and is asked at the end
    only; empty: none. ``prompt_sets`` are the ids of those that gave prompts, ``prompt_file`` the name of
    a file that did. ``batch_size`` answers go through the model at once (0: all of a step). ``max_seconds`` > 0 ends the run
    after that many seconds of training instead of after ``steps``.
    """

    algorithm: Literal["rloo", "grpo"] = "rloo"
    rewards: tuple[RewardTerm, ...] = (RewardTerm("embedded"),)
    learning_rate: float = 3e-3
    beta: float = 0.05
    reward_clip: float = 0.0
    judge: str = ""
    judge_revision: str = ""
    prompt_sets: tuple[str, ...] = ()
    prompt_file: str = ""
    prompts_per_step: int = 4
    generations: int = 8
    ordinary: float = 0.5
    batch_size: int = 0
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

    @property
    def answers_per_step(self) -> int:
        """Answers sampled for each step."""
        return self.prompts_per_step * self.generations


@dataclass(frozen=True)
class DetoxEvent:
    """One step of a detox run; means over the step's answers.

    Attributes:
        reward: the weighted sum; ``reward_sd`` its standard deviation over the answers; ``terms`` the mean of each term
            before weighting, in the order of the settings.
        toxicity: mean probability of the first term that knows one; NaN where none does, or none of the answers is covered.
        uncovered: share of answers that a scorer did not cover: they get the mean reward of the other answers to their
            prompt, that is no push. An answer without words is not among them: it gets the step's worst reward and one
            standard deviation less, so that silence never pays.
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
