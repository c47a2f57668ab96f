"""A reward run: from preference rows to a scalar head and LoRA adapter, told as typed events.

``train_reward`` is a plain function like ``train_dpo``: it writes the adapter and its checkpoints into the run's folder and
hands everything else to ``emit``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from studio.domain.data import PreferenceRow
from studio.domain.events import ProbeEvent, RewardReport, StepEvent
from studio.domain.runs import Recipe
from studio.errors import RecipeError
from studio.ml.lora.fused import fuse_lora
from studio.ml.models.loading import load_tokenizer
from studio.ml.reward import base as reward_base
from studio.ml.reward.base import load_reward_base
from studio.ml.reward.report import make_report, probe_event
from studio.ml.reward.rows import EncodedRows, encode_rows, score_rows
from studio.ml.reward.trainer import RewardCollator, trainer_class
from studio.ml.training.failures import plain_failures
from studio.ml.training.reference import base_of
from studio.ml.training.setup import (
    TrainingJob,
    check_training,
    choose_attention,
    lora_options,
    public_id,
    shared_arguments,
    start_device,
    training_dtype,
)
from studio.ml.training.steps import Clock, teller_class
from studio.ml.training.trainer import TrainingResult, train_to_end

__all__ = ["RewardJob", "RewardResult", "preload", "train_reward"]

#: How a run ended.
RewardResult = TrainingResult
RewardEvent = StepEvent | ProbeEvent | RewardReport
#: Held-out pairs that the probe during training reads; the report at the end reads all of them.
PROBE_PAIRS = 64
#: Up to this many parameters (or on a GPU) reading the held-out pairs takes a moment.
_QUICK_PARAMETERS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class RewardJob(TrainingJob):
    """All a run needs; its base is an encoder or a causal model.

    Attributes:
        rows: the training rows, as the dial or the votes set them.
        heldout: rows kept aside (may be empty: then there is neither probe nor report).
    """

    rows: tuple[PreferenceRow, ...]
    heldout: tuple[PreferenceRow, ...]


def preload() -> None:
    """Import what a run needs beside what a DPO run needs."""
    reward_base.preload()
    trainer_class()


def train_reward(job: RewardJob, emit: Callable[[RewardEvent], None], should_stop: Callable[[], bool]) -> RewardResult:
    """Train a head and an adapter and write both into ``job.folder`` as one PEFT adapter (task type SEQ_CLS).

    Emits a ``StepEvent`` a step; a ``ProbeEvent`` for the untrained head (step 0, told right after the first step), every
    ``probe_every`` steps and at the end; and one ``RewardReport`` at the end, which a stopped run tells only where that takes
    a moment. What is too long is told in :mod:`studio.ml.reward.rows`; rows that cannot be used are counted in
    the report and told in the log. ``should_stop`` and resuming work as in ``train_dpo``.

    Raises:
        RecipeError: a setting that cannot be trained with, or no row that can.
        ModelLoadError: the base cannot be loaded.
        TrainingError: not-a-number loss, out of memory, full disk; the sentence says what to try.
    """
    check_training(job.recipe, len(job.rows))
    if not job.recipe.reward_settings.center_rewards >= 0:
        raise RecipeError(f"center_rewards is {job.recipe.reward_settings.center_rewards}; it must be at least 0.")
    with plain_failures(job.recipe):
        return _train(job, emit, should_stop)


def _train(job: RewardJob, emit: Callable[[RewardEvent], None], should_stop: Callable[[], bool]) -> RewardResult:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import RewardConfig
    from trl.trainer.utils import disable_dropout_in_model

    recipe, settings = job.recipe, job.recipe.reward_settings
    device = start_device(job, settings.load_in_4bit)
    tokenizer = load_tokenizer(job.base_path, trust_remote_code=job.trust_remote_code)
    base = load_reward_base(
        job.base_path,
        tokenizer,
        device=device,
        dtype=training_dtype(device),
        seed=settings.seed,
        load_in_4bit=settings.load_in_4bit,
        trust_remote_code=job.trust_remote_code,
    )
    disable_dropout_in_model(base.model)  # the base's own; the adapter's is a knob and is honoured
    limit = min(settings.max_length, base.limit)
    rows = encode_rows(tokenizer, job.rows, recipe.system_prompt, limit, "Training row")
    heldout = encode_rows(tokenizer, job.heldout, recipe.system_prompt, limit, "Held-out row")
    if not rows.pairs:
        raise RecipeError(
            f"None of the {len(job.rows)} training rows can be used: an answer exceeds max_length ({limit}) or both are "
            "the same; raise max_length or choose other data."
        )
    choose_attention(base.model, device, rows.pairs, settings.batch_size)
    base_id, clock = public_id(recipe.base.id), Clock(settings.max_seconds)
    arguments = shared_arguments(recipe, len(rows.pairs), job.folder, device, base.model.num_parameters())
    trainer = trainer_class()(
        base_id=base_id,
        timed=clock.share if settings.max_seconds > 0 else None,
        model=base.model,
        args=RewardConfig(**arguments, center_rewards_coefficient=settings.center_rewards or None),
        data_collator=RewardCollator(rows.pairs, tokenizer.pad_token_id),
        train_dataset=Dataset.from_dict({"row": list(range(len(rows.pairs)))}),
        processing_class=tokenizer,
        peft_config=LoraConfig(task_type="SEQ_CLS", modules_to_save=list(base.heads), **lora_options(recipe)),
    )
    trainer.remove_callback(PrinterCallback)
    fuse_lora(trainer.model)
    observer = RewardObserver(trainer.model, tokenizer.pad_token_id, rows, heldout, recipe, emit, clock.elapsed)
    teller = teller_class()(recipe, trainer, observer, clock, emit, should_stop)

    def last_look(step: int) -> None:
        if not teller.stopped or observer.quick:
            observer.look(step, probe=True, sample=False)
            observer.report(step)

    return train_to_end(job, trainer, teller, clock, base_id, last_look)


@dataclass
class RewardObserver:
    """Looks at the held-out pairs during training and emits what it sees."""

    model: Any
    pad_id: int
    training: EncodedRows
    heldout: EncodedRows
    recipe: Recipe
    emit: Callable[[RewardEvent], None]
    elapsed: Callable[[], float]

    @property
    def quick(self) -> bool:
        """Whether reading the held-out pairs takes a moment."""
        return self.model.device.type == "cuda" or self.model.num_parameters() <= _QUICK_PARAMETERS

    def look_at_base(self) -> None:
        """Probe of the untrained head."""
        with base_of(self.model):
            self._probe(0)

    def look(self, step: int, *, probe: bool, sample: bool, training: bool = False) -> None:
        """Probe of the model as it is; there is nothing to sample."""
        if probe:
            self.model.eval()
            self._probe(step)
            self.model.train(training)

    def report(self, step: int) -> None:
        """The report over all held-out pairs."""
        if not self.heldout.pairs:
            return
        self.model.eval()
        self.emit(
            make_report(
                step,
                self._margins(self.heldout.pairs),
                self.heldout.rows,
                self.training.rows,
                self.recipe.dataset_kind == "sides",
                self.training.dropped + self.heldout.dropped,
            )
        )

    def _probe(self, step: int) -> None:
        pairs = self.heldout.pairs[:PROBE_PAIRS]
        if pairs:
            self.emit(probe_event(step, self._margins(pairs), self.elapsed()))

    def _margins(self, pairs: Sequence[Any]) -> list[float]:
        rewards = score_rows(self.model, [answer for pair in pairs for answer in pair], self.pad_id)
        return [chosen - rejected for chosen, rejected in zip(rewards[::2], rewards[1::2], strict=True)]
