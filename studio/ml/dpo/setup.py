"""A run's recipe as what TRL and PEFT are given."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.domain.data import PreferencePair, PreferenceRow
from studio.domain.events import MeasureEvent, ProbeEvent, SampleEvent, StepEvent, WeightChange
from studio.domain.runs import DpoRecipe
from studio.ml.training.setup import Pairs, TrainingJob, pair_arguments

_log = logging.getLogger(__name__)

Event = StepEvent | ProbeEvent | SampleEvent | MeasureEvent | WeightChange
Emit = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True)
class DpoJob(TrainingJob):
    """All a run needs.

    Attributes:
        rows: the training rows as the dial set them.
        heldout: pairs for the stance probe (may be empty).
        judge_pairs: pairs whose answers the stance judge learns from.
        test_prompts: prompts answered for the film-strip and the measured support share; without any, the held-out
            prompts are taken, then those of the training rows.
    """

    recipe: DpoRecipe
    rows: tuple[PreferenceRow, ...]
    heldout: tuple[PreferencePair, ...]
    judge_pairs: tuple[PreferencePair, ...]
    test_prompts: tuple[str, ...]


def trl_arguments(job: DpoJob, rows: int, device: str, parameters: int) -> Any:
    """``DPOConfig`` of a job that trains on so many rows, on a base of ``parameters`` weights."""
    from trl import DPOConfig

    dpo = job.recipe.settings
    return DPOConfig(
        **pair_arguments(job.recipe, rows, job.folder, device, parameters),
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
