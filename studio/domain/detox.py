"""The types of a detox run: reinforcement learning away from toxic answers, and its prompts."""

from __future__ import annotations

from dataclasses import dataclass

from studio.domain.settings import TrainingSettings, setting
from studio.domain.toxicity import TestPrompt
from studio.errors import RecipeError


@dataclass(frozen=True)
class RewardTerm:
    """One part of the reward: ``weight`` times the reward of the scorer of that name (see ``studio/domain/toxicity.py``).

    ``revision`` is which state of it the run was queued with; a form leaves it empty.
    """

    scorer: str
    weight: float = 1.0
    revision: str = ""


ALGORITHMS = ("rloo", "grpo")
#: Reward terms of a run at most.
MAX_TERMS = 4


@dataclass(frozen=True, kw_only=True)
class DetoxSettings(TrainingSettings):
    """Hyper-parameters of a detox run.

    ``algorithm`` is ``rloo`` (REINFORCE leave-one-out, Ahmadian et al. 2024) or ``grpo`` (Shao et al. 2024). A step samples
    ``generations`` answers to each of ``prompts_per_step`` prompts at ``temperature``, each at most ``max_new_tokens`` long;
    ``beta`` is the weight of the KL divergence to the model the run started from. The reward is the weighted sum of
    ``rewards``; ``reward_clip`` > 0 cuts each term of a toxicity scorer at plus and minus that, so that what is clean enough
    earns no more by being cleaner still. ``ordinary`` is the share of each step's prompts that are not provoking ones, where
    the run has both. ``judge`` (with its ``judge_revision``) is a scorer that is no part of the reward and is asked at the end
    only; empty: none. ``prompt_sets`` are the ids of those that gave prompts, ``prompt_file`` the name of
    a file that did. ``batch_size`` answers go through the model at once (0: all of a step).
    """

    rewards: tuple[RewardTerm, ...] = (RewardTerm("embedded"),)
    judge: str = ""
    judge_revision: str = ""
    prompt_sets: tuple[str, ...] = ()
    prompt_file: str = ""
    algorithm: str = setting(
        "rloo",
        "Algorithm",
        "Advantage of an answer: RLOO takes its reward less the mean of the prompt's other answers (Ahmadian et al. 2024); GRPO "
        "the group's mean, divided by its spread (Shao et al. 2024).",
        choices=ALGORITHMS,
    )
    beta: float = setting(
        0.05,
        "KL weight (beta)",
        "Strength of the KL penalty to the start; lower may drift.",
        low=0,
        high=1000,
        step=0.01,
    )
    steps: int = setting(24, "Steps", "Each samples fresh answers and updates once.", low=1, high=100_000)
    max_seconds: float = setting(
        0.0, "Or seconds", "Ends the run by the clock; 0: after the steps.", low=0, high=7 * 24 * 3600
    )
    prompts_per_step: int = setting(4, "Prompts", "Different prompts in a step.", low=1, high=256)
    generations: int = setting(8, "Answers a prompt", "Each is compared with the others.", low=2, high=256)
    max_new_tokens: int = setting(64, "Longest (tokens)", "Longer answers are cut.", low=1, high=4096)
    ordinary: float = setting(0.5, "Ordinary share", "Share of prompts that do not provoke.", low=0, high=1, step=0.1)
    reward_clip: float = setting(
        0.0, "Cut rewards at", "Bounds a toxicity scorer's reward; 0: no bound.", low=0, high=1000, step=0.5
    )
    batch_size: int = setting(0, "Batch size", "Answers through the model at once; 0: all.", low=0, high=4096)
    temperature: float = setting(1.0, "Temperature", "Of sampling during training.", low=0.05, high=5, step=0.1)
    top_p: float = setting(1.0, "top_p", "Nucleus of sampling; 1: all tokens.", low=0.05, high=1, step=0.05)
    sample_every: int = setting(4, "Transcripts every", "Steps between transcripts; 0: never.", low=0, high=100_000)
    measured_answers: int = setting(
        128,
        "Answers measured",
        "Sampled at the end before and after, on held-out prompts; 0: none.",
        low=0,
        high=10_000,
    )
    learning_rate: float = 3e-3
    warmup_ratio: float = 0.0
    scheduler: str = "constant"

    def check(self) -> None:
        """As :meth:`Declared.check`; the reward's terms are checked too."""
        super().check()
        if not 1 <= len(self.rewards) <= MAX_TERMS:
            raise RecipeError(f"There are {len(self.rewards)} reward terms; a run has 1 to {MAX_TERMS}.")
        names = [term.scorer.strip() for term in self.rewards]
        for term, name in zip(self.rewards, names, strict=True):
            if not name:
                raise RecipeError("A reward term names no scorer; choose one or take the term away.")
            if names.count(name) > 1:
                raise RecipeError(f"{name} is in the reward twice; give it one weight.")
            if not -100 <= term.weight <= 100:
                raise RecipeError(f"weight of {name} is {term.weight}; it must be between -100 and 100.")
        if all(term.weight == 0 for term in self.rewards):
            raise RecipeError("Every reward term has weight 0, so there is nothing to learn; raise one.")
        if self.batch_size and self.answers_per_step % self.batch_size:
            raise RecipeError(
                f"batch_size is {self.batch_size}, which does not divide the {self.answers_per_step} answers of a step "
                f"({self.prompts_per_step} prompts x {self.generations}); choose a divisor, or 0 for all at once."
            )

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
