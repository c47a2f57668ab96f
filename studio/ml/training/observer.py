"""What a training shows besides its loss: probes and answers on the way, measures at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.domain.events import DetoxEvent, StepEvent
from studio.ml.training.reference import base_of

#: Up to this many parameters (or on a GPU) answers are cheap: a stopped run is measured too.
QUICK_PARAMETERS = 20_000_000


@dataclass
class Observer:
    """Observes the model in training and emits what it finds; a method of training overrides what it has to show.

    Attributes:
        model: the PEFT model in training.
        elapsed: seconds of training so far.
    """

    model: Any
    tokenizer: Any
    emit: Callable[[Any], None]
    elapsed: Callable[[], float]

    @property
    def quick(self) -> bool:
        """Whether answers are cheap on this base and device."""
        return self.model.device.type == "cuda" or self.model.num_parameters() <= QUICK_PARAMETERS

    def observe_base(self) -> None:
        """Probe and answers of what the model was before its first step, emitted as step 0."""
        with base_of(self.model):
            self.probe(0)
            self.sample(0)

    def observe(self, step: int, *, probe: bool, sample: bool, training: bool = False) -> None:
        """Probe and/or answers of the model as it is; ``training`` is the mode to leave it in."""
        if probe or sample:
            self.model.eval()
            if probe:
                self.probe(step)
            if sample:
                self.sample(step)
            self.model.train(training)

    def probe(self, step: int) -> None:
        """Emit a figure on unseen data, cheap enough for every few steps."""

    def sample(self, step: int) -> None:
        """Emit answers to a few fixed prompts."""

    def measure(self, step: int, brief: bool) -> None:
        """Emit what the finished adapter comes to; ``brief``: the run was stopped and somebody waits for its end."""

    def save(self) -> None:
        """Keep on disk what a later run can use again."""

    def step_event(
        self, trainer: Any, state: Any, total: int, seconds: float, elapsed: float, eta: float
    ) -> StepEvent | DetoxEvent:
        """The event of a step that took ``seconds``, from the trainer's tally."""
        tally = trainer.tally
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
