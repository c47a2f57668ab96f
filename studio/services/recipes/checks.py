"""Are a run's settings in range? What every method of training has in common is checked here, each method adds its own."""

from __future__ import annotations

import re

from studio.domain.data import PreferenceDataset
from studio.domain.detox import DetoxSettings
from studio.domain.runs import DpoSettings, LoraSettings, RewardSettings
from studio.errors import DatasetError, RecipeError
from studio.ml.training.setup import OPTIMIZERS, SCHEDULERS

_MODULES = re.compile(r"^(all-linear|[A-Za-z0-9_.]+(\s*,\s*[A-Za-z0-9_.]+)*)$")


def check_training(lora: LoraSettings, training: DpoSettings | RewardSettings) -> None:
    """Check LoRA and what all trainings on pairs have.

    Raises:
        RecipeError: the first setting out of range, with its value and what is allowed.
    """
    check_common(lora, training)
    within("epochs", training.epochs, 0 if training.max_seconds else 0.01, 1000)
    within("batch_size", training.batch_size, 1, 1024)
    within("gradient_accumulation", training.gradient_accumulation, 1, 1024)
    within("probe_every", training.probe_every, 1, 100000)


def check_common(lora: LoraSettings, training: DpoSettings | RewardSettings | DetoxSettings) -> None:
    """Check LoRA and what every method has.

    Raises:
        RecipeError: the first setting out of range, with its value and what is allowed.
    """
    within("rank", lora.rank, 1, 1024)
    within("alpha", lora.alpha, 1, 4096)
    within("dropout", lora.dropout, 0, 0.95)
    if not _MODULES.match(lora.target_modules.strip()):
        raise RecipeError(
            f"target_modules is {lora.target_modules!r}; use all-linear or module names such as q_proj,v_proj."
        )
    one_of("scheduler", training.scheduler, SCHEDULERS)
    one_of("optimizer", training.optimizer, OPTIMIZERS)
    within("learning_rate", training.learning_rate, 1e-9, 1)
    within("max_seconds", training.max_seconds, 0, 7 * 24 * 3600)
    within("warmup_ratio", training.warmup_ratio, 0, 1)
    within("weight_decay", training.weight_decay, 0, 10)
    within("max_grad_norm", training.max_grad_norm, 0, 1000)
    within("max_length", training.max_length, 16, 131072)
    within("seed", training.seed, 0, 2**32 - 1)


def within(name: str, value: float, low: float, high: float) -> None:
    """Raises RecipeError unless ``low <= value <= high``."""
    if not low <= value <= high:  # a NaN fails this too
        raise RecipeError(f"{name} is {value}; it must be between {low:g} and {high:g}.")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises RecipeError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise RecipeError(f"{name} is {value!r}; use one of {', '.join(allowed)}.")


def not_longer(name: str, text: str, most: int) -> None:
    """Raises RecipeError for a text of more than ``most`` characters."""
    if len(text) > most:
        raise RecipeError(f"{name} has {len(text)} characters; {most} are allowed.")


def with_pairs(dataset: PreferenceDataset, what: str) -> PreferenceDataset:
    """The dataset, for ``what``, which needs pairs.

    Raises:
        DatasetError: it holds prompts without answers.
    """
    if not dataset.pairs:
        raise DatasetError(
            f"{dataset.title} holds prompts without answers and {what} needs pairs; choose preference data, or use these "
            "prompts in a detox run."
        )
    return dataset
