"""A detox recipe as what TRL is given."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from studio.domain.data import PreferencePair
from studio.domain.detox import DetoxSettings
from studio.domain.runs import DetoxRecipe
from studio.domain.toxicity import TestPrompt
from studio.errors import RecipeError
from studio.ml.scorers.protocol import Scorer
from studio.ml.training.setup import TIMED_STEPS, TrainingJob, common_arguments

#: Below this a KL weight is nothing; TRL still computes the reference with it, so that the log-ratio can be shown.
_NO_BETA = 1e-12
#: Steps whose prompts are drawn ahead for a run that a time limit ends; then they come again.
_TIMED_PROMPT_STEPS = 4096


@dataclass(frozen=True, kw_only=True)
class DetoxJob(TrainingJob):
    """All a detox run needs.

    Attributes:
        prompts: what to train on; ``heldout`` what to measure on at the end (without any, nothing is measured).
        scorers: one for each reward term of the recipe, in order; ``judge`` a scorer that is not part of the reward.
        judge_pairs: pairs whose answers the stance judge learns from; empty: the stance is not measured.
        stance_prompts: prompts no training touched, asked for the support share.
    """

    recipe: DetoxRecipe
    prompts: tuple[TestPrompt, ...]
    heldout: tuple[TestPrompt, ...]
    scorers: tuple[Scorer, ...]
    judge: Scorer | None = None
    judge_pairs: tuple[PreferencePair, ...] = ()
    stance_prompts: tuple[str, ...] = ()


def check_family(detox: DetoxSettings, seq2seq: bool) -> None:
    """Whether a base of this family (``seq2seq``: an encoder-decoder) can be trained so.

    Raises:
        RecipeError: it cannot.
    """
    if seq2seq and detox.algorithm != "rloo":
        raise RecipeError(f"algorithm is {detox.algorithm!r}; an encoder-decoder model is trained by rloo here.")


def prompt_order(prompts: Sequence[TestPrompt], detox: DetoxSettings) -> list[int]:
    """Which prompt is used when: indices in ``prompts``, ``prompts_per_step`` a step. Each kind (provoking, ordinary) is
    shuffled anew each time it has been gone through; ordinary ones get their share of the steps' places."""
    kinds = [[i for i, prompt in enumerate(prompts) if prompt.provoking is kind] for kind in (True, False)]
    share = detox.ordinary if all(kinds) else float(bool(kinds[1]))
    provoking, ordinary = (_cycle(kind, random.Random(f"{detox.seed} {n}")) for n, kind in enumerate(kinds))
    count = (_TIMED_PROMPT_STEPS if detox.max_seconds > 0 else detox.steps) * detox.prompts_per_step
    is_ordinary = [math.floor((place + 1) * share + 1e-9) - math.floor(place * share + 1e-9) for place in range(count)]
    return [next(ordinary) if plain else next(provoking) for plain in is_ordinary]


def _cycle(places: list[int], rng: random.Random) -> Iterator[int]:
    for _ in itertools.count():
        rng.shuffle(places)
        yield from list(places)


def trl_arguments(job: DetoxJob, device: str, parameters: int) -> Any:
    """``RLOOConfig`` or ``GRPOConfig`` of a job on a base of ``parameters`` weights."""
    from trl import GRPOConfig, RLOOConfig

    detox = job.recipe.settings
    batch = detox.batch_size or detox.answers_per_step
    timed = detox.max_seconds > 0
    shared = {
        **common_arguments(detox, detox.steps, job.folder, device, parameters),
        "max_steps": TIMED_STEPS if timed else detox.steps,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": detox.answers_per_step // batch,
        "num_generations": detox.generations,
        "max_completion_length": detox.max_new_tokens,
        "temperature": detox.temperature,
        "top_p": detox.top_p,
        "beta": max(detox.beta, _NO_BETA),
        "shuffle_dataset": False,  # prompt_order has shuffled
        "router_aux_loss_coef": 0.0,
    }
    if detox.algorithm == "grpo":
        return GRPOConfig(**shared, loss_type="grpo", scale_rewards="group")
    return RLOOConfig(**shared)
