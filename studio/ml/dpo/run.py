"""A DPO run: from preference rows to a LoRA adapter, reported as typed events.

``train_dpo`` is a plain function: no gradio, no globals, no status files. The services decide where it runs; it writes the
adapter and its checkpoints into the run's folder and hands everything else to ``emit``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from studio.errors import RecipeError
from studio.ml.dpo.observer import DpoObserver
from studio.ml.dpo.replay import Replay
from studio.ml.dpo.setup import DpoJob, Emit, trl_arguments, warn_of_cuts
from studio.ml.dpo.trainer import PairCollator, trainer_class
from studio.ml.measure.stance import pad_id
from studio.ml.training.fit import Base, Training, TrainingResult, fit
from studio.ml.training.logprobs import token_log_probs
from studio.ml.training.pairs import encode_heldout, encode_rows, pad_answers
from studio.ml.training.reference import ReferenceCache
from studio.ml.training.setup import NO_ROWS, base_name, choose_attention, keep_states, longest, token_limit
from studio.ml.training.shared_prompts import share_prompts
from studio.ml.training.steps import progress_callback_class
from studio.ml.training.trunk import CHECKED_ROWS


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


class DpoTraining(Training[DpoJob]):
    """TRL's ``DPOTrainer`` over the job's rows, its reference log-probabilities kept on disk."""

    def trainer(self, base: Base, **shared: Any) -> Any:
        """As :meth:`Training.trainer`."""
        from datasets import Dataset

        job, dpo, tokenizer = self.job, self.job.recipe.settings, base.tokenizer
        if not job.rows:
            raise RecipeError(NO_ROWS)
        max_length = token_limit(base.model, dpo.max_length)
        pairs = encode_rows(tokenizer, job.rows, job.recipe.system_prompt, max_length, dpo.cuts_answers)
        self._heldout = encode_heldout(tokenizer, job.heldout, job.recipe.system_prompt, max_length, dpo.cuts_answers)
        warn_of_cuts(pairs, max_length)
        choose_attention(base.model, base.device, 2 * dpo.batch_size, longest(pairs))
        self._reference = ReferenceCache(job.cache_dir, base_name(job, base.dtype))
        trainer = trainer_class()(
            pairs=pairs,
            reference=self._reference,
            replay=Replay(tokenizer, pairs, pad_id(tokenizer), dpo.seed) if dpo.replay_weight else None,
            replay_weight=dpo.replay_weight,
            sft_weight=dpo.sft_weight,
            args=trl_arguments(job, len(pairs), base.device, base.model.num_parameters()),
            data_collator=PairCollator(pairs, pad_id(tokenizer)),
            train_dataset=Dataset.from_dict({"row": list(range(len(pairs)))}),
            **shared,
        )
        answers = [answer for pair in (*pairs, *self._heldout) for answer in pair]
        batch = pad_answers(answers[:CHECKED_ROWS], pad_id(tokenizer), trainer.model.device)
        share_prompts(trainer.model, lambda: token_log_probs(trainer.model, batch.input_ids, batch.completion_mask))
        trainer.trunk = keep_states(job, base.dtype, trainer.model, answers, pad_id(tokenizer))
        return trainer

    def observer(self, trainer: Any, base: Base, **shared: Any) -> DpoObserver:
        """As :meth:`Training.observer`."""
        return DpoObserver(
            job=self.job, heldout=self._heldout, reference=self._reference, trunk=trainer.trunk, **shared
        )
