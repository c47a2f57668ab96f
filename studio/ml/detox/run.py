"""A detox run: reinforcement learning of a LoRA adapter against what scorers call toxic, reported as typed events.

``train_detox`` is a plain function like ``train_dpo``: it writes the adapter and its checkpoints into the run's folder and
hands everything else to ``emit``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from studio.domain.detox import ALGORITHMS
from studio.domain.events import DetoxEvent, DetoxReport, MeasureEvent, TranscriptEvent, WeightChange
from studio.domain.toxicity import TestPrompt
from studio.errors import RecipeError
from studio.ml.detox.observer import DetoxObserver
from studio.ml.detox.reward import Term
from studio.ml.detox.seq2seq_trainer import arguments as seq2seq_arguments
from studio.ml.detox.seq2seq_trainer import trainer_class as seq2seq_trainer_class
from studio.ml.detox.setup import DetoxJob, check_family, prompt_order, trl_arguments
from studio.ml.detox.trainer import trainer_class
from studio.ml.models.prompts import chat_ids, end_tokens
from studio.ml.training.fit import Base, Training, TrainingResult, fit
from studio.ml.training.logprobs import token_log_probs
from studio.ml.training.pairs import EncodedAnswer, conversation, pad_answers
from studio.ml.training.setup import choose_attention, first_layer, token_limit
from studio.ml.training.shared_prompts import share_prompts
from studio.ml.training.trunk import Trunk

_log = logging.getLogger(__name__)

#: Tokens of a text that stands for an answer where two ways of reading are compared.
_CHECKED = 16

Event = DetoxEvent | TranscriptEvent | DetoxReport | MeasureEvent | WeightChange


def preload() -> None:
    """Import what a run needs beside what a DPO run needs."""
    for algorithm in ALGORITHMS:
        trainer_class(algorithm)


def train_detox(job: DetoxJob, emit: Callable[[Event], None], should_stop: Callable[[], bool]) -> TrainingResult:
    """Train an adapter and write it into ``job.folder``.

    The KL reference is the model the run starts from: the base, or base and ``job.start``; the adapter written holds both
    and is loaded on the plain base. Emits a ``DetoxEvent`` a step; ``TranscriptEvent``s of a few fixed prompts for the start
    (step 0, emitted right after the first step), every ``sample_every`` steps and at the end; then a ``DetoxReport`` on the
    held-out prompts and two ``MeasureEvent``s where there is a judge of stances, which a stopped run tells only where that
    takes a moment. ``should_stop`` and resuming work as in ``train_dpo``.

    Raises:
        RecipeError: a setting that cannot be trained with, or no prompt that can.
        ModelLoadError: the base or the start adapter cannot be loaded.
        TrainingError: a scorer failed or gave no number, not-a-number loss, out of memory, full disk; the sentence says what
            to try.
    """
    return fit(DetoxTraining(job), emit, should_stop)


class DetoxTraining(Training[DetoxJob]):
    """TRL's RLOO or GRPO trainer over the job's prompts; for encoder-decoders the studio's own."""

    _trunk: Trunk | None = None

    def trainer(self, base: Base, **shared: Any) -> Any:
        """As :meth:`Training.trainer`."""
        from datasets import Dataset

        job, detox, model = self.job, self.job.recipe.settings, base.model
        if not job.prompts:
            raise RecipeError("There are no prompts to train on; choose a dataset or a prompt set.")
        seq2seq = bool(model.config.is_encoder_decoder)
        check_family(detox, seq2seq)
        model.generation_config.eos_token_id = (
            sorted(end_tokens(model, base.tokenizer)) or None
        )  # TRL's answers end there
        prompts, prompt_ids = _encode(job, base.tokenizer, model)
        terms = zip(job.scorers, detox.rewards, strict=True)
        self._terms = [Term(scorer, term.weight, detox.reward_clip) for scorer, term in terms]
        first = 0 if seq2seq else first_layer(job, model)
        if first:
            rows = detox.batch_size or detox.answers_per_step
            choose_attention(model, base.device, rows, max(map(len, prompt_ids)) + detox.max_new_tokens, first)
        make = partial(seq2seq_trainer_class(), detox=detox) if seq2seq else trainer_class(detox.algorithm)
        arguments = seq2seq_arguments if seq2seq else trl_arguments
        trainer = make(
            prompts=[prompt.text for prompt in prompts],
            prompt_ids=prompt_ids,
            terms=self._terms,
            args=arguments(job, base.device, model.num_parameters()),
            train_dataset=Dataset.from_dict({"prompt": prompt_order(prompts, detox)}),
            **shared,
        )
        pad = base.tokenizer.pad_token_id
        if first:
            trunk = Trunk(trainer.model, first, None, 0)
            if trunk.exact([EncodedAnswer(tuple(ids), ()) for ids in prompt_ids], pad):
                self._trunk = trainer.trunk = trunk
        if not seq2seq:
            # two texts behind one prompt, as a step has them
            some = [EncodedAnswer(tuple(prompt_ids[0]), tuple(ids[-_CHECKED:])) for ids in prompt_ids[:2]]
            batch = pad_answers(some, pad, trainer.model.device)
            share_prompts(trainer.model, lambda: token_log_probs(trainer.model, batch.input_ids, batch.completion_mask))
        return trainer

    def observer(self, trainer: Any, base: Base, **shared: Any) -> DetoxObserver:
        """As :meth:`Training.observer`."""
        return DetoxObserver(terms=self._terms, job=self.job, trunk=self._trunk, **shared)


def _encode(job: DetoxJob, tokenizer: Any, model: Any) -> tuple[list[TestPrompt], list[list[int]]]:
    """The prompts that leave room for an answer (whole to an encoder, whose answer stands apart), and their token ids."""
    detox, system, seq2seq = job.recipe.settings, job.recipe.system_prompt, bool(model.config.is_encoder_decoder)
    limit = token_limit(model, detox.max_length)
    limit = min(limit, tokenizer.model_max_length) if seq2seq else limit - detox.max_new_tokens
    encoded = [(prompt, chat_ids(tokenizer, conversation(prompt.text, system), seq2seq)) for prompt in job.prompts]
    kept = [(prompt, ids) for prompt, ids in encoded if len(ids) <= limit]
    if not kept and seq2seq:
        raise RecipeError(
            f"None of the {len(encoded)} prompts fits: the shortest has {min(len(ids) for _, ids in encoded)} tokens and the encoder is "
            f"given {limit} at most (max_length is {detox.max_length}); raise max_length or choose shorter prompts."
        )
    if not kept:
        raise RecipeError(
            f"None of the {len(encoded)} prompts leaves room for an answer of {detox.max_new_tokens} tokens within max_length "
            f"({detox.max_length}); raise max_length or lower max_new_tokens."
        )
    if len(kept) < len(encoded):
        _log.warning(
            "%d of %d prompts are too long for max_length and are left out.", len(encoded) - len(kept), len(encoded)
        )
    return [prompt for prompt, _ in kept], [ids for _, ids in kept]
