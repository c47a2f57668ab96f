"""A reward run: from preference rows to a scalar head and LoRA adapter, reported as typed events.

``train_reward`` is a plain function like ``train_dpo``: it writes the adapter and its checkpoints into the run's folder and
hands everything else to ``emit``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from studio.domain.data import PreferenceRow
from studio.domain.events import ProbeEvent, RewardReport, StepEvent, WeightChange
from studio.domain.runs import RewardRecipe
from studio.errors import RecipeError
from studio.ml.reward import base as reward_base
from studio.ml.reward.base import load_reward_base
from studio.ml.reward.report import make_report, probe_event
from studio.ml.reward.rows import EncodedRows, encode_rows, rewards_by_length, score_rows
from studio.ml.reward.trainer import RewardCollator, trainer_class
from studio.ml.training.fit import Base, Training, TrainingResult, fit
from studio.ml.training.observer import Observer
from studio.ml.training.setup import (
    NO_ROWS,
    TrainingJob,
    choose_attention,
    first_layer,
    keep_states,
    longest,
    lora_config,
    pair_arguments,
)
from studio.ml.training.shared_prompts import causal_of, share_prompts
from studio.ml.training.trunk import CHECKED_ROWS, Trunk

RewardEvent = StepEvent | ProbeEvent | RewardReport | WeightChange
#: Held-out pairs that the probe during training reads; the report at the end reads all of them.
PROBE_PAIRS = 64


@dataclass(frozen=True, kw_only=True)
class RewardJob(TrainingJob):
    """All a run needs; its base is an encoder or a causal model.

    Attributes:
        rows: the training rows, as the dial or the votes set them.
        heldout: rows kept aside (may be empty: then there is neither probe nor report).
    """

    recipe: RewardRecipe
    rows: tuple[PreferenceRow, ...]
    heldout: tuple[PreferenceRow, ...]


def preload() -> None:
    """Import what a run needs beside what a DPO run needs."""
    reward_base.preload()
    trainer_class()


def train_reward(
    job: RewardJob, emit: Callable[[RewardEvent], None], should_stop: Callable[[], bool]
) -> TrainingResult:
    """Train a head and an adapter and write both into ``job.folder`` as one PEFT adapter (task type SEQ_CLS).

    Emits a ``StepEvent`` a step; a ``ProbeEvent`` for the untrained head (step 0, emitted right after the first step), every
    ``probe_every`` steps and at the end; and one ``RewardReport`` at the end, which a stopped run emits only where that takes
    a moment. What is too long: see :mod:`studio.ml.reward.rows`; rows that cannot be used are counted in
    the report and named in the log. ``should_stop`` and resuming work as in ``train_dpo``.

    Raises:
        RecipeError: a setting that cannot be trained with, or no row that can.
        ModelLoadError: the base cannot be loaded.
        TrainingError: not-a-number loss, out of memory, full disk; the sentence says what to try.
    """
    return fit(RewardTraining(job), emit, should_stop)


class RewardTraining(Training[RewardJob]):
    """TRL's ``RewardTrainer`` over the job's rows; the head is trained whole and saved with the adapter."""

    def load(self, tokenizer: Any, device: str, dtype: str) -> Any:
        """As :meth:`Training.load`, with a scalar head on it."""
        job, settings = self.job, self.job.recipe.settings
        self._base = load_reward_base(
            job.base_path,
            tokenizer,
            device=device,
            dtype=dtype,
            seed=settings.seed,
            load_in_4bit=settings.load_in_4bit,
            trust_remote_code=job.trust_remote_code,
        )
        return self._base.model

    def lora(self, model: Any) -> Any:
        """As :meth:`Training.lora`, with the head."""
        return lora_config(self.job.recipe.lora, model, "SEQ_CLS", modules_to_save=list(self._base.heads))

    def trainer(self, base: Base, **shared: Any) -> Any:
        """As :meth:`Training.trainer`."""
        from datasets import Dataset
        from trl import RewardConfig

        job, recipe, settings = self.job, self.job.recipe, self.job.recipe.settings
        if not job.rows:
            raise RecipeError(NO_ROWS)
        limit = min(settings.max_length, self._base.limit)
        self._rows, self._heldout = (
            encode_rows(base.tokenizer, rows, recipe.system_prompt, limit, name, settings.cuts_answers)
            for rows, name in ((job.rows, "Training row"), (job.heldout, "Held-out row"))
        )
        pairs = self._rows.pairs
        if not pairs:
            raise RecipeError(
                f"None of the {len(job.rows)} training rows can be used: an answer exceeds max_length ({limit}) or both "
                "are the same; raise max_length or choose other data."
            )
        rows, first = 2 * settings.batch_size, first_layer(job, base.model)
        choose_attention(base.model, base.device, rows, longest(pairs), first)
        arguments = pair_arguments(recipe, len(pairs), job.folder, base.device, base.model.num_parameters())
        trainer = trainer_class()(
            pairs=pairs,
            args=RewardConfig(**arguments, center_rewards_coefficient=settings.center_rewards or None),
            data_collator=RewardCollator(pairs, base.tokenizer.pad_token_id),
            train_dataset=Dataset.from_dict({"row": list(range(len(pairs)))}),
            **shared,
        )
        answers = [answer for pair in (*pairs, *self._heldout.pairs) for answer in pair]
        pad_id = base.tokenizer.pad_token_id
        if hasattr(causal_of(trainer.model), "score"):  # read at the last token of an answer, as decoders do
            some = answers[:CHECKED_ROWS]
            share_prompts(trainer.model, lambda: rewards_by_length(trainer.model, some, pad_id))
        trainer.trunk = keep_states(job, base.dtype, trainer.model, answers, pad_id)
        return trainer

    def observer(self, trainer: Any, base: Base, **shared: Any) -> RewardObserver:
        """As :meth:`Training.observer`."""
        sides = self.job.recipe.dataset_kind == "sides"
        return RewardObserver(training=self._rows, heldout=self._heldout, sides=sides, trunk=trainer.trunk, **shared)


@dataclass
class RewardObserver(Observer):
    """Observes the held-out pairs during training; ``sides``: the data's pairs have a supporting answer; ``trunk``: kept states of
    the layers that are not trained."""

    training: EncodedRows
    heldout: EncodedRows
    sides: bool
    trunk: Trunk | None

    def probe(self, step: int) -> None:
        """Accuracy on some held-out pairs."""
        pairs = self.heldout.pairs[:PROBE_PAIRS]
        if pairs:
            self.emit(probe_event(step, self._margins(pairs), self.elapsed()))

    def measure(self, step: int, brief: bool) -> None:
        """The report over all held-out pairs."""
        rows, heldout = self.training, self.heldout
        if heldout.pairs:
            dropped = rows.dropped + heldout.dropped
            self.emit(make_report(step, self._margins(heldout.pairs), heldout.rows, rows.rows, self.sides, dropped))

    def _margins(self, pairs: Sequence[Any]) -> list[float]:
        answers = [answer for pair in pairs for answer in pair]
        rewards = score_rows(self.model, answers, self.tokenizer.pad_token_id, self.trunk)
        return [chosen - rejected for chosen, rejected in zip(rewards[::2], rewards[1::2], strict=True)]
