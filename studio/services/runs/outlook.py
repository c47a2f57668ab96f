"""How long a run will be: its steps, known before it starts; its seconds, from the steps of earlier runs or from its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from studio.domain.bases import EMBEDDED
from studio.domain.detox import DetoxSettings
from studio.domain.runs import Recipe
from studio.domain.settings import AnswerSettings, DpoSettings, LoraSettings, PairSettings, RewardSettings
from studio.services.recipes.presets import DETOX_PRESETS, PRESETS, Preset
from studio.services.runs.store import RunView
from studio.services.wording import counted, duration

#: Fewer steps than this change little.
FEW_STEPS = 5
#: Seconds beyond which a faster preset is offered.
LONG_S = 120
#: Seconds of a GPU call beside the steps (beginning CUDA, loading, measuring), and of the first one on a base, whose steps nobody has timed.
AROUND_S, FIRST_CALL_S = 45, 120
Trained = PairSettings | DetoxSettings


@dataclass(frozen=True)
class Faster:
    """A preset that trains the same base faster, and what it does for that."""

    preset: Preset[Any]
    how: str

    @property
    def sentence(self) -> str:
        """Its name with what it does."""
        preset = self.preset.title
        return f"the preset “{preset}”, {self.how}"


_UPPER_LAYERS = Faster(PRESETS["real-small"], "which trains the upper layers only")
_QUICK_DETOX = Faster(DETOX_PRESETS["quick"], "which takes fewer steps")


@dataclass(frozen=True)
class Outlook:
    """What a form comes to. ``steps`` is None where time ends the run after ``limit`` seconds; ``step_seconds`` is what a step took in
    the newest run that is comparable, None without one; ``faster`` a preset that takes less, where the estimate is long; ``lent``: it
    is carried out in one GPU call."""

    steps: int | None
    limit: float = 0.0
    step_seconds: float | None = None
    faster: Faster | None = None
    lent: bool = False

    @property
    def call_seconds(self) -> int:
        """For how long a GPU is asked for."""
        training = self.limit if self.steps is None else self.seconds
        return FIRST_CALL_S if training is None else AROUND_S + math.ceil(1.2 * training)

    @property
    def seconds(self) -> float | None:
        """The estimate of the training alone; None where nothing is known."""
        return self.steps * self.step_seconds if self.steps and self.step_seconds else None

    @property
    def basis(self) -> str:
        """What the estimate of the seconds was made from; empty where there is none."""
        return f"{self.step_seconds:.2g} s a step in an earlier run." if self.seconds else ""

    def sentences(self) -> list[str]:
        """What to say beside the button, warnings last."""
        per_step = self.step_seconds
        quota = [f"Asks ZeroGPU for {self.call_seconds} s of your quota."] if self.lent else []
        if self.steps is None:
            about = f", about {counted(max(1, round(self.limit / per_step)), 'step')}" if per_step else ""
            return [f"Training ends after {duration(self.limit)}{about}.", *quota]
        said = [f"{counted(self.steps, 'step')}."]
        if self.seconds is not None and per_step:
            said = [f"{counted(self.steps, 'step')}, about {duration(self.seconds)} without measuring."]
        said += quota
        if self.faster:
            said.append(f"⚠️ That is long; faster: {self.faster.sentence}.")
        if self.steps < FEW_STEPS:
            said.append(
                f"⚠️ Fewer than {FEW_STEPS} steps change little: train on more data, raise epochs or steps, or lower batch size times "
                "accumulation."
            )
        return said


def outlook(
    settings: Trained,
    lora: LoraSettings,
    rows: int,
    base: str,
    preset: str,
    runs: Sequence[RunView],
    lent: bool = False,
) -> Outlook:
    """What a run of ``rows`` pairs (of a detox run: of any prompts) on the base of this id comes to; ``runs`` are earlier ones, newest
    first. Comparable are those of the same method, base and trained layers, on a lent GPU or not (``lent``) as this one, finished ones
    first; their step time is scaled by the rows of a step. Where there is no reward run yet, DPO runs tell: a row is a pair in both, and
    takes a reward run somewhat less. Where none trained these layers, those of another share of the upper ones tell, scaled by it."""
    steps = (
        None
        if settings.max_seconds > 0
        else settings.steps(rows)
        if isinstance(settings, PairSettings)
        else settings.steps
    )
    # one that was stopped after a few steps says little
    alike = sorted((run for run in runs if run.status.lent == lent), key=lambda run: run.status.state != "done")
    kinds = (RewardSettings, DpoSettings) if isinstance(settings, RewardSettings) else (type(settings),)
    tried = (
        _row_seconds(run, kind, base) * scale
        for scaled in (_same_layers, _upper_share)
        for kind in kinds
        for run in alike
        if (scale := scaled(lora, run.recipe.lora))
    )
    row_seconds = next(filter(None, tried), None)
    step_seconds = row_seconds * _rows_a_step(settings) if row_seconds else None
    known = Outlook(steps, settings.max_seconds, step_seconds, lent=lent)
    if (known.seconds or 0) > LONG_S and (faster := _faster(settings, lora, base, preset)):
        return replace(known, faster=faster)
    return known


def faster_way(recipe: Recipe) -> Faster | None:
    """The preset that trains the base of a run faster than its recipe does; None where there is none."""
    settings = recipe.settings
    return _faster(settings, recipe.lora, recipe.base.id, recipe.preset) if settings else None


def offered(run: RunView) -> Faster | None:
    """The faster preset to offer for a run at work, where more than :data:`LONG_S` seconds are left; None where there is none."""
    return faster_way(run.recipe) if (seconds_left(run) or 0) > LONG_S else None


def seconds_left(run: RunView) -> float | None:
    """What is left of the training of a run at work, measured on its own steps; None before the second one (the first tells of setting
    up) and after the last."""
    last = run.detox_step or run.last_step
    return last.eta if run.status.state == "running" and last and 1 < last.step < last.total else None


def _faster(settings: Trained, lora: LoraSettings, base: str, preset: str) -> Faster | None:
    if settings.max_seconds > 0:
        return None
    if isinstance(settings, AnswerSettings) and base != EMBEDDED and lora.layers.strip() == "all":
        return _UPPER_LAYERS
    if isinstance(settings, DetoxSettings) and base == EMBEDDED and preset != "quick":
        return _QUICK_DETOX
    return None


def _row_seconds(run: RunView, kind: type[Trained], base: str) -> float:
    """Seconds of training a row took in a run; 0 where it cannot be compared or has no second step."""
    recipe, last = run.recipe, run.detox_step or run.last_step
    settings = recipe.settings
    if not isinstance(settings, kind) or recipe.base.id != base:
        return 0
    return last.elapsed / last.step / _rows_a_step(settings) if last and last.step > 1 else 0


def _same_layers(lora: LoraSettings, earlier: LoraSettings) -> float:
    return lora.layers.strip() == earlier.layers.strip()


def _upper_share(lora: LoraSettings, earlier: LoraSettings) -> float:
    """How many times as many layers ``lora`` trains; 0 where one of the two is no share: of all layers the lower part is computed, too."""
    return float(lora.share / earlier.share) if lora.share and earlier.share else 0


def _rows_a_step(settings: Trained) -> int:
    if isinstance(settings, PairSettings):
        return settings.batch_size * settings.gradient_accumulation
    return settings.answers_per_step
