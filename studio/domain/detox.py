"""The types of a detox run: reinforcement learning away from toxic answers, and what it tells while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from studio.domain.toxicity import TestPrompt


@dataclass(frozen=True)
class RewardTerm:
    """One part of the reward: ``weight`` times the reward of the scorer of that name (see ``studio/domain/toxicity.py``).

    ``revision`` is which state of it the run was queued with; a form leaves it empty.
    """

    scorer: str
    weight: float = 1.0
    revision: str = ""


@dataclass(frozen=True)
class DetoxSettings:
    """Hyper-parameters of a detox run. Presets live in ``services/recipes/presets.py``.

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
class DetoxPlan:
    """The prompts of a detox run, fixed when it is queued (``plan.json`` in its folder): what it trains on, and what it is
    measured on at its end; no prompt is in both, however it is written."""

    prompts: tuple[TestPrompt, ...]
    heldout: tuple[TestPrompt, ...]
