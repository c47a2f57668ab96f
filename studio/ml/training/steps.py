"""What happens at the end of each training step: its event is emitted, the model observed, a checkpoint saved, a stop obeyed."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.domain.settings import TrainingSettings
from studio.ml.lora.snapshots import Snapshots
from studio.ml.training.observer import Observer

#: A checkpoint is written this often (and at a stop), or rarer where writing it takes long.
CHECKPOINT_EVERY_S = 15.0


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
def progress_callback_class() -> Any:
    """The callback's class, made on first use because transformers is not imported with this module."""
    import torch
    from transformers import TrainerCallback

    class ProgressCallback(TrainerCallback):
        """At each step's end: emit its event, observe the model and keep a snapshot where it is time, stop or save where
        asked."""

        def __init__(
            self,
            settings: TrainingSettings,
            trainer: Any,
            observer: Observer,
            snapshots: Snapshots,
            clock: Clock,
            emit: Callable[[Any], None],
            should_stop: Callable[[], bool],
            threads: Callable[[], int],
        ) -> None:
            self._settings, self._trainer, self._observer = settings, trainer, observer
            self._snapshots = snapshots
            self._clock, self._emit, self._should_stop, self._threads = clock, emit, should_stop, threads
            self._first_step = 0
            self._first_took = 0.0
            self._step_began = self._saved = self._saving_began = time.monotonic()
            self._save_cost = 0.0
            self.stopped = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._first_step = state.global_step

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            torch.set_num_threads(self._threads())
            self._step_began = time.monotonic()
            self._trainer.tally = StepTally()

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self._clock.share() >= 1:
                self._trainer.end_warmup()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            step, settings, now = state.global_step, self._settings, time.monotonic()
            done = step >= state.max_steps
            if settings.max_seconds > 0 and self._clock.elapsed() >= settings.max_seconds:
                control.should_training_stop = done = True
            self._emit_step(state, now, done)
            if not done and self._should_stop():
                self.stopped = control.should_training_stop = control.should_save = True
            if step == 1:
                self._observer.observe_base()
            if control.should_training_stop or done:
                return  # the end is observed after the adapter is saved
            probe, sample = (_due(step, getattr(settings, name, 0)) for name in ("probe_every", "sample_every"))
            self._observer.observe(step, probe=probe, sample=sample, training=True)
            if sample:
                self._snapshots.keep(step)
            if now - self._saved > max(CHECKPOINT_EVERY_S, 20 * self._save_cost):
                control.should_save = True
            if control.should_save:
                self._snapshots.make_room()
                self._saving_began = time.monotonic()

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / "progress.json").write_text(json.dumps({"elapsed": self._clock.elapsed()}), encoding="utf-8")
            self._observer.save()
            self._saved = time.monotonic()
            self._save_cost = self._saved - self._saving_began

        def _emit_step(self, state: Any, now: float, done: bool) -> None:
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
            seconds = now - self._step_began
            self._emit(self._observer.step_event(self._trainer, state, total, seconds, elapsed, eta))

    return ProgressCallback


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


@dataclass
class StepTally:
    """Sums over the rows of one optimiser step (all its micro-batches), in nats; ``counts`` says over how many where not over all."""

    pairs: int = 0
    tokens: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    grad_norm: float = math.nan
    learning_rate: float = math.nan

    def add(self, pairs: int, tokens: int, counts: Mapping[str, int] | None = None, **totals: float) -> None:
        """Count a micro-batch."""
        self.pairs += pairs
        for name, count in (counts or {}).items():
            self.counts[name] = self.counts.get(name, 0) + count
        self.tokens += tokens
        for name, value in totals.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def mean(self, name: str) -> float:
        """Mean of a quantity over the step's rows that have it; NaN where none does, or this training does not have it."""
        count = self.counts.get(name, self.pairs)
        return self.sums.get(name, math.nan) / count if count else math.nan
