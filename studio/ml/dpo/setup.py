"""A run's recipe as what TRL and PEFT are given, checked first so that a bad value is named and never reaches them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.domain.data import PreferencePair, PreferenceRow
from studio.domain.events import MeasureEvent, ProbeEvent, SampleEvent, StepEvent
from studio.errors import RecipeError
from studio.ml.models.loading import fingerprint
from studio.ml.training.setup import Pairs, TrainingJob, check_training, shared_arguments

_log = logging.getLogger(__name__)

Event = StepEvent | ProbeEvent | SampleEvent | MeasureEvent
Emit = Callable[[Event], None]

#: TRL's loss types that need nothing but the log-probabilities of a pair.
LOSS_TYPES = (
    "sigmoid",
    "ipo",
    "hinge",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
)
MAX_REPLAY_WEIGHT = 100


@dataclass(frozen=True, kw_only=True)
class DpoJob(TrainingJob):
    """All a run needs.

    Attributes:
        rows: the training rows as the dial set them.
        heldout: pairs for the stance probe (may be empty).
        judge_pairs: pairs whose answers the stance judge learns from.
        test_prompts: prompts answered for the film-strip and the measured support share; without any, the held-out
            prompts are taken, then those of the training rows.
        cache_dir: where reference log-probabilities and measures of the base are kept between runs.
    """

    rows: tuple[PreferenceRow, ...]
    heldout: tuple[PreferencePair, ...]
    judge_pairs: tuple[PreferencePair, ...]
    test_prompts: tuple[str, ...]
    cache_dir: Path


def check_job(job: DpoJob) -> None:
    """Name the first setting that cannot be trained with.

    Raises:
        RecipeError
    """
    dpo = job.recipe.dpo_settings
    if dpo.loss_type not in LOSS_TYPES:
        raise RecipeError(f"loss_type is {dpo.loss_type!r}; use one of {', '.join(LOSS_TYPES)}.")
    check_training(job.recipe, len(job.rows))
    if not dpo.beta > 0:
        raise RecipeError(f"beta is {dpo.beta}; it must be above 0.")
    if not 0 <= dpo.replay_weight <= MAX_REPLAY_WEIGHT:
        raise RecipeError(f"replay_weight is {dpo.replay_weight}; it must be from 0 to {MAX_REPLAY_WEIGHT}.")
    if not 0 <= dpo.label_smoothing < 0.5 or (dpo.loss_type == "exo_pair" and dpo.label_smoothing == 0):
        raise RecipeError(
            f"label_smoothing is {dpo.label_smoothing}; it must be at least 0 and below 0.5, and above 0 for exo_pair."
        )


def trl_arguments(job: DpoJob, device: str, parameters: int) -> Any:
    """``DPOConfig`` of a job on a base of ``parameters`` weights."""
    from trl import DPOConfig

    dpo = job.recipe.dpo_settings
    return DPOConfig(
        **shared_arguments(job.recipe, len(job.rows), job.folder, device, parameters),
        loss_type=[dpo.loss_type],
        beta=dpo.beta,
        label_smoothing=dpo.label_smoothing,
        router_aux_loss_coef=0.0,
    )


def warn_of_cuts(pairs: Pairs, max_length: int) -> None:
    """Say in the log how many answers ``max_length`` cut."""
    cut = sum(1 for pair in pairs for answer in pair if len(answer) >= max_length)
    if cut:
        _log.warning("%d of %d answers reach max_length %d and are cut there.", cut, 2 * len(pairs), max_length)


def base_name(job: DpoJob, dtype: str) -> str:
    """What names base and arithmetic in the caches: fingerprint and dtype; empty where the base has no fingerprint."""
    mark = job.recipe.base.fingerprint
    if not mark and Path(job.base_path).is_dir():
        mark = fingerprint(job.base_path)
    kind = "nf4" if job.recipe.dpo_settings.load_in_4bit else dtype
    return f"{mark[:32]}-{kind}" if mark else ""
