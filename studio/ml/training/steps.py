"""What happens at the end of each training step: tell it, look at the model, save, stop."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from studio.domain.detox import DetoxSettings
from studio.domain.events import StepEvent
from studio.domain.runs import Recipe, RewardSettings

#: A checkpoint is written this often (and at a stop), or rarer where writing it takes long.
CHECKPOINT_EVERY_S = 15.0


class Looker(Protocol):
    """Looks at the model in training and tells what it sees."""

    def look_at_base(self) -> None:
        """Look at what the model was before its first step."""

    def look(self, step: int, *, probe: bool, sample: bool, training: bool = False) -> None:
        """Probe and/or sample the model as it is; ``training`` is the mode to leave it in."""


class Clock:
    """Seconds of training, those before a resume included. ``limit`` 0 means no limit."""

    def __init__(self, limit: float) -> None:
        self.limit, self.before, self._began = limit, 0.0, time.monotonic()

    def start(self) -> None:
        """Training begins now."""
        self._began = time.monotonic()

    def elapsed(self) -> float:
        """Seconds so far."""
        return self.before + time.monotonic() - self._began

    def share(self) -> float:
        """Share of the limit that has passed."""
        return self.elapsed() / self.limit if self.limit > 0 else 0.0


@functools.cache
def teller_class() -> Any:
    """The callback, made on first use because transformers is not imported with this module."""
    from transformers import TrainerCallback

    class Teller(TrainerCallback):
        """At each step's end: tell it, look at the model where it is time, stop or save where asked."""

        def __init__(
            self,
            recipe: Recipe,
            trainer: Any,
            observer: Looker,
            clock: Clock,
            emit: Callable[[Any], None],
            should_stop: Callable[[], bool],
            at_save: Callable[[], None] = lambda: None,
        ) -> None:
            self._settings, self._trainer, self._observer = recipe.settings, trainer, observer
            self._clock, self._emit, self._should_stop = clock, emit, should_stop
            self._at_save = at_save
            self._first_step = 0
            self._first_took = 0.0
            self._step_began = self._saved = self._saving_began = time.monotonic()
            self._save_cost = 0.0
            self.stopped = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._first_step = state.global_step

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._step_began = time.monotonic()
            self._trainer.tally = StepTally()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            step, settings, now = state.global_step, self._settings, time.monotonic()
            done = step >= state.max_steps
            if settings.max_seconds > 0 and self._clock.elapsed() >= settings.max_seconds:
                control.should_training_stop = done = True
            self._tell(state, now, done)
            if not done and self._should_stop():
                self.stopped = control.should_training_stop = control.should_save = True
            if step == 1:
                self._observer.look_at_base()
            if control.should_training_stop or done:
                return  # the end is looked at after the adapter is saved
            probe_every = 0 if isinstance(settings, DetoxSettings) else settings.probe_every
            sample_every = 0 if isinstance(settings, RewardSettings) else settings.sample_every
            self._observer.look(step, probe=_due(step, probe_every), sample=_due(step, sample_every), training=True)
            if now - self._saved > max(CHECKPOINT_EVERY_S, 20 * self._save_cost):
                control.should_save = True
            if control.should_save:
                self._saving_began = time.monotonic()

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / "progress.json").write_text(json.dumps({"elapsed": self._clock.elapsed()}), encoding="utf-8")
            self._at_save()
            self._saved = time.monotonic()
            self._save_cost = self._saved - self._saving_began

        def _tell(self, state: Any, now: float, done: bool) -> None:
            settings, elapsed = self._settings, self._clock.elapsed()
            here = state.global_step - self._first_step
            taken = elapsed - self._clock.before
            if here == 1:  # what is set up in the first step takes longer than a step
                self._first_took = taken
            per_step = (taken - self._first_took) / (here - 1) if here > 1 else taken
            if settings.max_seconds > 0:
                eta = max(0.0, settings.max_seconds - elapsed)
                total = state.global_step if done else state.global_step + max(1, math.ceil(eta / per_step))
            else:
                total = state.max_steps
                eta = (total - state.global_step) * per_step
            self._emit(self._event(state, total, now - self._step_began, elapsed, eta))

        def _event(self, state: Any, total: int, seconds: float, elapsed: float, eta: float) -> Any:
            """The event of a step that took ``seconds``."""
            tally = self._trainer.tally
            return StepEvent(
                step=state.global_step,
                total=total,
                epoch=float(state.epoch or 0.0),
                loss=tally.mean("loss"),
                reward_chosen=tally.mean("reward_chosen"),
                reward_rejected=tally.mean("reward_rejected"),
                margin=tally.mean("reward_chosen") - tally.mean("reward_rejected"),
                accuracy=tally.mean("accuracy"),
                logp_chosen=tally.mean("logp_chosen"),
                logp_rejected=tally.mean("logp_rejected"),
                learning_rate=tally.learning_rate,
                grad_norm=tally.grad_norm,
                tokens_per_second=tally.tokens / max(1e-9, seconds),
                elapsed=elapsed,
                eta=eta,
            )

    return Teller


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


@dataclass
class StepTally:
    """Sums over the pairs of one optimiser step (all its micro-batches), in nats."""

    pairs: int = 0
    tokens: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    grad_norm: float = math.nan
    learning_rate: float = math.nan

    def add(self, pairs: int, tokens: int, **totals: float) -> None:
        """Count a micro-batch."""
        self.pairs += pairs
        self.tokens += tokens
        for name, value in totals.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def mean(self, name: str) -> float:
        """Mean of a quantity over the step's pairs; NaN for one that this training does not have."""
        return self.sums.get(name, math.nan) / self.pairs
