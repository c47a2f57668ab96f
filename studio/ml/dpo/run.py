"""A DPO run: from preference rows to a LoRA adapter, reported as typed events.

``train_dpo`` is a plain function: no gradio, no globals, no status files. The services decide where it runs; it writes the
adapter and its checkpoints into the run's folder and hands everything else to ``emit``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from studio.errors import RecipeError
from studio.ml.dpo.observer import AnswerObserver
from studio.ml.dpo.replay import Replay
from studio.ml.dpo.setup import AnswerJob, DpoJob, Emit, trl_arguments, warn_of_cuts
from studio.ml.dpo.trainer import PairCollator, trainer_class
from studio.ml.measure.stance import pad_id
from studio.ml.training.fit import Base, Training, TrainingResult, fit
from studio.ml.training.logprobs import token_log_probs
from studio.ml.training.pairs import encode_heldout, encode_rows, pad_answers
from studio.ml.training.reference import ReferenceCache
from studio.ml.training.setup import NO_ROWS, Rows, base_name, choose_attention, keep_states, longest, token_limit
from studio.ml.training.shared_prompts import share_prompts
from studio.ml.training.steps import progress_callback_class
from studio.ml.training.trunk import CHECKED_ROWS

J = TypeVar("J", bound=AnswerJob)


def preload() -> None:
    """Import what a run needs, so that a process forked later starts at once. Starts no thread of its own."""
    import peft  # noqa: F401
    import sklearn.feature_extraction.text
    import sklearn.linear_model
    import sklearn.pipeline  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401

    from studio.ml.reward import run as reward

    trainer_class()
    progress_callback_class()
    reward.preload()


def train_dpo(job: DpoJob, emit: Emit, should_stop: Callable[[], bool]) -> TrainingResult:
    """Train an adapter and write it into ``job.folder``.

    The reference of DPO is the model that the run starts from: the base, or base and ``job.start``; the adapter written holds both and is
    loaded on the plain base. Where "base" is said below, that start is meant.

    Emits a ``StepEvent`` a step; a ``ProbeEvent`` and ``SampleEvent``s for the base (step 0, emitted right after the first
    step, so that training is under way at once), every ``probe_every`` and ``sample_every`` steps, and at the end; a
    ``MeasureEvent`` for base and adapter when the run reached its end. A run that was stopped is measured
    only where that takes a moment, with one answer a prompt.
    ``should_stop`` is asked at the end of each step; the adapter is saved and a checkpoint left in
    ``folder/checkpoint``, from which a resumed run goes on exactly as if it had not been stopped. A resumed run emits
    again the steps after its checkpoint.

    Raises:
        RecipeError: a setting or row that cannot be trained on, named.
        ModelLoadError: the base or the start adapter cannot be loaded.
        TrainingError: not-a-number loss, out of memory, full disk; the sentence says what to try.
    """
    return fit(DpoTraining(job), emit, should_stop)


class AnswerTraining(Training[J]):
    """One of TRL's trainers over the answers of the job's rows, their reference log-probabilities kept on disk."""

    @abstractmethod
    def encoded(self, tokenizer: Any, max_length: int) -> Rows:
        """The answers of the training rows that fit.

        Raises:
            RecipeError: none of them fits.
        """

    def read_beside(self) -> Rows:
        """Further answers whose log-probabilities the steps read."""
        return ()

    @abstractmethod
    def trl_trainer(self, rows: Rows, base: Base, **options: Any) -> Any:
        """TRL's trainer over ``rows``, whose dataset names them by number; its ``trunk`` is set later."""

    def trainer(self, base: Base, **shared: Any) -> Any:
        """As :meth:`Training.trainer`."""
        from datasets import Dataset

        job, settings, tokenizer = self.job, self.job.recipe.settings, base.tokenizer
        if not job.rows:
            raise RecipeError(NO_ROWS)
        max_length = token_limit(base.model, settings.max_length)
        rows = self.encoded(tokenizer, max_length)
        self._heldout = encode_heldout(
            tokenizer, job.heldout, job.recipe.system_prompt, max_length, settings.cuts_answers
        )
        warn_of_cuts(rows, max_length)
        choose_attention(base.model, base.device, len(rows[0]) * settings.batch_size, longest(rows))
        self._reference = ReferenceCache(job.cache_dir, base_name(job, base.dtype))
        trainer = self.trl_trainer(
            rows,
            base,
            reference=self._reference,
            replay=Replay(tokenizer, rows, pad_id(tokenizer), settings.seed) if settings.replay_weight else None,
            replay_weight=settings.replay_weight,
            sft_weight=settings.sft_weight,
            train_dataset=Dataset.from_dict({"row": list(range(len(rows)))}),
            **shared,
        )
        answers = [answer for row in (*rows, *self.read_beside(), *self._heldout) for answer in row]
        batch = pad_answers(answers[:CHECKED_ROWS], pad_id(tokenizer), trainer.model.device)
        share_prompts(trainer.model, lambda: token_log_probs(trainer.model, batch.input_ids, batch.completion_mask))
        trainer.trunk = keep_states(job, base.dtype, trainer.model, answers, pad_id(tokenizer))
        return trainer

    def observer(self, trainer: Any, base: Base, **shared: Any) -> AnswerObserver:
        """As :meth:`Training.observer`."""
        return AnswerObserver(
            job=self.job, heldout=self._heldout, reference=self._reference, trunk=trainer.trunk, **shared
        )


class DpoTraining(AnswerTraining[DpoJob]):
    """TRL's ``DPOTrainer``."""

    def encoded(self, tokenizer: Any, max_length: int) -> Rows:
        """As :meth:`AnswerTraining.encoded`."""
        recipe = self.job.recipe
        return encode_rows(tokenizer, self.job.rows, recipe.system_prompt, max_length, recipe.settings.cuts_answers)

    def trl_trainer(self, rows: Rows, base: Base, **options: Any) -> Any:
        """As :meth:`AnswerTraining.trl_trainer`."""
        return trainer_class()(
            pairs=rows,
            args=trl_arguments(self.job, len(rows), base.device, base.model.num_parameters()),
            data_collator=PairCollator(rows, pad_id(base.tokenizer)),
            **options,
        )
