"""A DPO run: from preference rows to a LoRA adapter, told as typed events.

``train_dpo`` is a plain function: no gradio, no globals, no status files. The services decide where it runs; it writes the
adapter and its checkpoints into the run's folder and hands everything else to ``emit``.
"""

from __future__ import annotations

from collections.abc import Callable

from studio.ml.dpo.observer import Observer
from studio.ml.dpo.replay import Replay
from studio.ml.dpo.setup import (
    LOSS_TYPES,
    MAX_REPLAY_WEIGHT,
    DpoJob,
    Emit,
    base_name,
    check_job,
    trl_arguments,
    warn_of_cuts,
)
from studio.ml.dpo.trainer import PairCollator, trainer_class
from studio.ml.lora.fused import fuse_lora
from studio.ml.measure.stance import pad_id
from studio.ml.models.loading import load_model, load_tokenizer
from studio.ml.training.failures import plain_failures
from studio.ml.training.pairs import encode_heldout, encode_rows
from studio.ml.training.reference import ReferenceCache
from studio.ml.training.setup import (
    OPTIMIZERS,
    SCHEDULERS,
    choose_attention,
    first_layer,
    lora_config,
    public_id,
    start_device,
    training_dtype,
)
from studio.ml.training.steps import Clock, teller_class
from studio.ml.training.trainer import TrainingResult, train_to_end
from studio.ml.training.trunk import open_trunk

__all__ = ["LOSS_TYPES", "MAX_REPLAY_WEIGHT", "OPTIMIZERS", "SCHEDULERS", "DpoJob", "DpoResult", "preload", "train_dpo"]


#: How a run ended.
DpoResult = TrainingResult


def preload() -> None:
    """Import what a run needs, so that a process forked later starts at once. Starts no thread of its own."""
    import peft  # noqa: F401
    import sklearn.feature_extraction.text
    import sklearn.linear_model
    import sklearn.pipeline  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401

    from studio.ml.reward import run as reward

    trainer_class()
    teller_class()
    reward.preload()


def train_dpo(job: DpoJob, emit: Emit, should_stop: Callable[[], bool]) -> DpoResult:
    """Train an adapter and write it into ``job.folder``.

    Emits a ``StepEvent`` a step; a ``ProbeEvent`` and ``SampleEvent``s for the base (step 0, told right after the first
    step, so that training is under way at once), every ``probe_every`` and ``sample_every`` steps, and at the end; a
    ``MeasureEvent`` for base and adapter when the run reached its end. A run that was stopped is looked at for the last time
    only where that takes a moment, with one answer a prompt.
    ``should_stop`` is asked at the end of each step; the adapter is saved and a checkpoint left in
    ``folder/checkpoint``, from which a resumed run goes on exactly as if it had not been stopped. A resumed run emits
    again the steps after its checkpoint.

    Raises:
        RecipeError: a setting or row that cannot be trained on, named.
        ModelLoadError: the base cannot be loaded.
        TrainingError: not-a-number loss, out of memory, full disk; the sentence says what to try.
    """
    check_job(job)
    with plain_failures(job.recipe):
        return _train(job, emit, should_stop)


def _train(job: DpoJob, emit: Emit, should_stop: Callable[[], bool]) -> DpoResult:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.utils import disable_dropout_in_model

    recipe, dpo = job.recipe, job.recipe.dpo_settings
    device = start_device(job, dpo.load_in_4bit)
    dtype = training_dtype(device)
    tokenizer = load_tokenizer(job.base_path, trust_remote_code=job.trust_remote_code)
    model = load_model(
        job.base_path,
        device=device,
        dtype=dtype,
        load_in_4bit=dpo.load_in_4bit,
        trust_remote_code=job.trust_remote_code,
    )
    disable_dropout_in_model(model)  # the base's own; the adapter's is a knob and is honoured
    max_length = min(dpo.max_length, getattr(model.config.get_text_config(), "max_position_embeddings", dpo.max_length))
    pairs = encode_rows(tokenizer, job.rows, recipe.system_prompt, max_length)
    heldout = encode_heldout(tokenizer, job.heldout, recipe.system_prompt, max_length)
    warn_of_cuts(pairs, max_length)
    choose_attention(model, device, pairs, dpo.batch_size)
    reference = ReferenceCache(job.cache_dir, base_name(job, dtype))
    base_id = public_id(recipe.base.id)
    clock = Clock(dpo.max_seconds)
    trainer = trainer_class()(
        pairs=pairs,
        reference=reference,
        replay=Replay(tokenizer, pairs, pad_id(tokenizer), dpo.seed) if dpo.replay_weight else None,
        replay_weight=dpo.replay_weight,
        sft_weight=dpo.sft_weight,
        base_id=base_id,
        timed=clock.share if dpo.max_seconds > 0 else None,
        model=model,
        args=trl_arguments(job, device, model.num_parameters()),
        data_collator=PairCollator(pairs, pad_id(tokenizer)),
        train_dataset=Dataset.from_dict({"row": list(range(len(pairs)))}),
        processing_class=tokenizer,
        peft_config=lora_config(recipe, model=model),
    )
    trainer.remove_callback(PrinterCallback)
    fuse_lora(trainer.model)
    first = first_layer(recipe.lora.layers, model.config.get_text_config().num_hidden_layers)
    states = job.cache_dir / "states" / f"{reference.base}-{first}" if reference.base else None
    answers = [answer for pair in pairs for answer in pair]
    trainer.trunk = open_trunk(trainer.model, first, answers, pad_id(tokenizer), states)
    observer = Observer(
        model=trainer.model,
        tokenizer=tokenizer,
        heldout=heldout,
        prompts=job.test_prompts or tuple(p.prompt for p in job.heldout) or tuple(r.prompt for r in job.rows),
        judge_pairs=job.judge_pairs,
        system_prompt=recipe.system_prompt,
        seed=dpo.seed,
        reference=reference,
        emit=emit,
        elapsed=clock.elapsed,
    )
    teller = teller_class()(recipe, trainer, observer, clock, emit, should_stop, at_save=reference.save)

    def last_look(step: int) -> None:
        reference.save()
        if not teller.stopped or observer.quick:  # who stopped a slow run does not want to wait for more of it
            observer.look(step, probe=True, sample=True)
            observer.measure(step, job.cache_dir, brief=teller.stopped)

    return train_to_end(job, trainer, teller, clock, base_id, last_look)
