"""A run's recipe as what TRL and PEFT are given."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.domain.data import PreferencePair, PreferenceRow, RatedAnswer
from studio.domain.events import MeasureEvent, ProbeEvent, SampleEvent, StepEvent, WeightChange
from studio.domain.runs import DpoRecipe, KtoRecipe
from studio.ml.training.setup import Rows, TrainingJob, pair_arguments

_log = logging.getLogger(__name__)

Event = StepEvent | ProbeEvent | SampleEvent | MeasureEvent | WeightChange
Emit = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True)
class AnswerJob(TrainingJob):
    """All a run of DPO or KTO needs.

    Attributes:
        rows: the training rows.
        heldout: pairs for the stance probe (may be empty).
        judge_pairs: pairs whose answers the stance judge learns from.
        test_prompts: prompts answered for the film-strip and the measured support share; without any, the held-out
            prompts are taken, then those of the training rows.
    """

    recipe: DpoRecipe | KtoRecipe
    rows: tuple[PreferenceRow, ...] | tuple[RatedAnswer, ...]
    heldout: tuple[PreferencePair, ...]
    judge_pairs: tuple[PreferencePair, ...]
    test_prompts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DpoJob(AnswerJob):
    """The job of a DPO run; ``rows`` are as the dial set them."""

    recipe: DpoRecipe
    rows: tuple[PreferenceRow, ...]


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


def warn_of_cuts(rows: Rows, max_length: int) -> None:
    """Say in the log how many answers ``max_length`` cut."""
    lengths = [len(answer) for row in rows for answer in row]
    if cut := sum(length >= max_length for length in lengths):
        _log.warning("%d of %d answers reach max_length %d and are cut there.", cut, len(lengths), max_length)
