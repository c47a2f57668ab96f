"""A detox run: reinforcement learning of a LoRA adapter against what scorers call toxic, told as typed events.

``train_detox`` is a plain function like ``train_dpo``: it writes the adapter and its checkpoints into the run's folder and
hands everything else to ``emit``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from studio.domain.events import DetoxEvent, DetoxReport, MeasureEvent, TranscriptEvent
from studio.domain.toxicity import TestPrompt
from studio.errors import RecipeError
from studio.ml.detox import seq2seq_trainer as seq2seq_detox
from studio.ml.detox.observer import DetoxObserver, teller_class
from studio.ml.detox.reward import Term
from studio.ml.detox.setup import ALGORITHMS, DetoxJob, check_family, check_job, prompt_order, trl_arguments
from studio.ml.detox.start_adapter import StartAdapter
from studio.ml.detox.trainer import trainer_class
from studio.ml.lora.fused import fuse_lora
from studio.ml.models.loading import load_model, load_tokenizer
from studio.ml.models.prompts import chat_ids
from studio.ml.training.failures import plain_failures
from studio.ml.training.pairs import conversation
from studio.ml.training.setup import lora_config, public_id, start_device, training_dtype
from studio.ml.training.steps import Clock
from studio.ml.training.trainer import TrainingResult, train_to_end

__all__ = ["ALGORITHMS", "DetoxJob", "DetoxResult", "preload", "train_detox"]

_log = logging.getLogger(__name__)

#: How a run ended.
DetoxResult = TrainingResult
Told = DetoxEvent | TranscriptEvent | DetoxReport | MeasureEvent


def preload() -> None:
    """Import what a run needs beside what a DPO run needs."""
    for algorithm in ALGORITHMS:
        trainer_class(algorithm)
    teller_class()


def train_detox(job: DetoxJob, emit: Callable[[Told], None], should_stop: Callable[[], bool]) -> DetoxResult:
    """Train an adapter and write it into ``job.folder``.

    The KL reference is the model the run starts from: the base, or base and ``job.start``; the adapter written holds both
    and is loaded on the plain base. Emits a ``DetoxEvent`` a step; ``TranscriptEvent``s of a few fixed prompts for the start
    (step 0, told right after the first step), every ``sample_every`` steps and at the end; then a ``DetoxReport`` on the
    held-out prompts and two ``MeasureEvent``s where there is a judge of stances, which a stopped run tells only where that
    takes a moment. ``should_stop`` and resuming work as in ``train_dpo``.

    Raises:
        RecipeError: a setting that cannot be trained with, or no prompt that can.
        ModelLoadError: the base or the start adapter cannot be loaded.
        TrainingError: a scorer failed or gave no number, not-a-number loss, out of memory, full disk; the sentence says what
            to try.
    """
    check_job(job)
    with plain_failures(job.recipe):
        return _train(job, emit, should_stop)


def _train(job: DetoxJob, emit: Callable[[Told], None], should_stop: Callable[[], bool]) -> DetoxResult:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.utils import disable_dropout_in_model

    recipe, detox = job.recipe, job.recipe.detox_settings
    device = start_device(job, detox.load_in_4bit)
    tokenizer = load_tokenizer(job.base_path, trust_remote_code=job.trust_remote_code)
    model = load_model(
        job.base_path,
        device=device,
        dtype=training_dtype(device),
        load_in_4bit=detox.load_in_4bit,
        trust_remote_code=job.trust_remote_code,
    )
    check_family(detox, bool(model.config.is_encoder_decoder))
    disable_dropout_in_model(model)  # the base's own; the adapter's is a knob and is honoured
    prompts, prompt_ids = _encode(job, tokenizer, model)
    start = StartAdapter(model, job.start) if job.start else None
    terms = [
        Term(scorer, term.weight, detox.reward_clip) for scorer, term in zip(job.scorers, detox.rewards, strict=True)
    ]
    base_id, clock = public_id(recipe.base.id), Clock(detox.max_seconds)
    make, arguments, task = trainer_class(detox.algorithm), trl_arguments, "CAUSAL_LM"
    if model.config.is_encoder_decoder:
        make, arguments, task = (
            partial(seq2seq_detox.trainer_class(), detox=detox),
            seq2seq_detox.arguments,
            "SEQ_2_SEQ_LM",
        )
    trainer = make(
        prompts=[prompt.text for prompt in prompts],
        prompt_ids=prompt_ids,
        terms=terms,
        base_id=base_id,
        timed=clock.share if detox.max_seconds > 0 else None,
        model=model,
        args=arguments(job, device, model.num_parameters()),
        train_dataset=Dataset.from_dict({"prompt": prompt_order(prompts, detox)}),
        processing_class=tokenizer,
        peft_config=lora_config(recipe, task),
    )
    trainer.remove_callback(PrinterCallback)
    fuse_lora(trainer.model)
    observer = DetoxObserver(trainer.model, tokenizer, terms, job, emit)
    teller = teller_class()(recipe, trainer, observer, clock, emit, should_stop)

    def last_look(step: int) -> None:
        if not teller.stopped or observer.quick:  # who stopped a slow run does not want to wait for more of it
            observer.look(step, probe=False, sample=True)
            observer.measure(step)

    return train_to_end(job, trainer, teller, clock, base_id, last_look, start.save if start else None)


def _encode(job: DetoxJob, tokenizer: Any, model: Any) -> tuple[list[TestPrompt], list[list[int]]]:
    """The prompts that leave room for an answer (whole to an encoder, whose answer stands apart), and their token ids."""
    detox, system, seq2seq = job.recipe.detox_settings, job.recipe.system_prompt, bool(model.config.is_encoder_decoder)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", detox.max_length)
    limit = min(detox.max_length, context) - detox.max_new_tokens
    if seq2seq:
        limit = min(detox.max_length, context, tokenizer.model_max_length)
    told = [(prompt, chat_ids(tokenizer, conversation(prompt.text, system), seq2seq)) for prompt in job.prompts]
    kept = [(prompt, ids) for prompt, ids in told if len(ids) <= limit]
    if not kept and seq2seq:
        raise RecipeError(
            f"None of the {len(told)} prompts fits: the shortest has {min(len(ids) for _, ids in told)} tokens and the encoder is "
            f"given {limit} at most (max_length is {detox.max_length}); raise max_length or choose shorter prompts."
        )
    if not kept:
        raise RecipeError(
            f"None of the {len(told)} prompts leaves room for an answer of {detox.max_new_tokens} tokens within max_length "
            f"({detox.max_length}); raise max_length or lower max_new_tokens."
        )
    if len(kept) < len(told):
        _log.warning("%d of %d prompts are too long for max_length and are left out.", len(told) - len(kept), len(told))
    return [prompt for prompt, _ in kept], [ids for _, ids in kept]
