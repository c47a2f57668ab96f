"""A DPO run: from preference rows to a LoRA adapter, told as typed events.

``train_dpo`` is a plain function: no gradio, no globals, no status files. The services decide where it runs; it writes the
adapter and its checkpoints into the run's folder and hands everything else to ``emit``.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.domain import (
    MeasureEvent,
    PreferencePair,
    PreferenceRow,
    ProbeEvent,
    Recipe,
    SampleEvent,
    StepEvent,
)
from studio.errors import RecipeError
from studio.ml.dpo_trainer import STATE_FILE, PairCollator, StepTally, save_adapter, trainer_class
from studio.ml.failures import plain_failures
from studio.ml.fused_lora import fuse_lora
from studio.ml.loading import choose_dtype, fingerprint, four_bit_reason, load_model, load_tokenizer, resolve_device
from studio.ml.observe import Observer
from studio.ml.pairs import encode_heldout, encode_rows
from studio.ml.reference import ReferenceCache
from studio.ml.stance import pad_id

_log = logging.getLogger(__name__)

Event = StepEvent | ProbeEvent | SampleEvent | MeasureEvent
Emit = Callable[[Event], None]

#: TRL's loss types that need nothing but the log-probabilities of a pair.
LOSS_TYPES = (
    "sigmoid",
    "ipo",
    "hinge",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
)
SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")
OPTIMIZERS = ("adamw", "paged_adamw_8bit")
#: A checkpoint is written this often (and at a stop), or rarer where writing it takes long.
CHECKPOINT_EVERY_S = 15.0
#: Attention scores kept for the backward pass up to which CPU attention is plain matrix products (bytes).
_EAGER_BYTES = 2**30
_LARGE_MODEL = 1_000_000_000


@dataclass(frozen=True)
class DpoJob:
    """All a run needs.

    Attributes:
        rows: the training rows as the dial set them.
        heldout: pairs for the stance probe (may be empty).
        judge_pairs: pairs whose answers the stance judge learns from.
        test_prompts: prompts answered for the film-strip and the measured support share; without any, the held-out
            prompts are taken, then those of the training rows.
        base_path: local folder, or an id in the local hub cache.
        folder: the run folder.
        cache_dir: where reference log-probabilities and measures of the base are kept between runs.
        resume: go on from the checkpoint in ``folder``, where there is one.
        threads: CPU threads.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """

    recipe: Recipe
    rows: tuple[PreferenceRow, ...]
    heldout: tuple[PreferencePair, ...]
    judge_pairs: tuple[PreferencePair, ...]
    test_prompts: tuple[str, ...]
    base_path: str | Path
    folder: Path
    cache_dir: Path
    resume: bool
    threads: int
    device: str
    trust_remote_code: bool


@dataclass(frozen=True)
class DpoResult:
    """How a run ended: steps done in all, whether a stop request ended it, seconds of training in all."""

    steps: int
    stopped: bool
    seconds: float


def preload() -> None:
    """Import what a run needs, so that a process forked later starts at once. Starts no thread of its own."""
    import peft  # noqa: F401
    import sklearn.feature_extraction.text
    import sklearn.linear_model
    import sklearn.pipeline  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401

    trainer_class()


def train_dpo(job: DpoJob, emit: Emit, should_stop: Callable[[], bool]) -> DpoResult:
    """Train an adapter and write it into ``job.folder``.

    Emits a ``StepEvent`` a step; a ``ProbeEvent`` and ``SampleEvent``s for the base (step 0, told right after the first
    step, so that training is under way at once), every ``probe_every`` and ``sample_every`` steps, and at the end; a
    ``MeasureEvent`` for base and adapter when the run reached its end, or was stopped on a base quick enough to tell.
    ``should_stop`` is asked at the end of each step; the adapter is saved and a checkpoint left in
    ``folder/checkpoint``, from which a resumed run goes on exactly as if it had not been stopped. A resumed run emits
    again the steps after its checkpoint.

    Raises:
        RecipeError: a setting or row that cannot be trained on, named.
        ModelLoadError: the base cannot be loaded.
        TrainingError: not-a-number loss, out of memory, full disk; the sentence says what to try.
    """
    _check(job)
    with plain_failures(job.recipe):
        return _train(job, emit, should_stop)


def _train(job: DpoJob, emit: Emit, should_stop: Callable[[], bool]) -> DpoResult:
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.utils import disable_dropout_in_model

    torch.set_num_threads(job.threads)
    recipe, dpo = job.recipe, job.recipe.dpo
    device = resolve_device(job.device)
    dtype = _dtype(device)
    if dpo.load_in_4bit and (reason := four_bit_reason(device, training=True)):
        raise RecipeError(reason)
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
    _warn_of_cuts(pairs, max_length)
    if device == "cpu" and _attention_bytes(model.config.get_text_config(), pairs, dpo.batch_size) <= _EAGER_BYTES:
        # The fused kernel's backward pass on a CPU takes ten times as long as the plain products at these lengths.
        model.set_attn_implementation("eager")

    reference = ReferenceCache(job.cache_dir, _base_name(job, dtype))
    clock = _Clock(dpo.max_seconds)
    trainer = trainer_class()(
        pairs=pairs,
        reference=reference,
        base_id=_public_id(recipe.base.id),
        timed=clock.share if dpo.max_seconds > 0 else None,
        model=model,
        args=_arguments(job, device, large=model.num_parameters() > _LARGE_MODEL),
        data_collator=PairCollator(pairs, pad_id(tokenizer)),
        train_dataset=Dataset.from_dict({"row": list(range(len(pairs)))}),
        processing_class=tokenizer,
        peft_config=_lora(recipe),
    )
    trainer.remove_callback(PrinterCallback)
    fuse_lora(trainer.model)
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
    teller = _teller_class()(job, trainer, observer, clock, emit, should_stop)
    trainer.add_callback(teller)
    checkpoint = _last_checkpoint(job.folder / "checkpoint") if job.resume else None
    if checkpoint is not None:
        clock.before = _read_progress(checkpoint)
    clock.start()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds, steps = clock.elapsed(), trainer.state.global_step
    save_adapter(trainer.model, job.folder, _public_id(recipe.base.id))
    reference.save()
    observer.look(steps, probe=True, sample=True)
    if not teller.stopped or observer.quick:
        observer.measure(steps, job.cache_dir)
    if not teller.stopped:
        shutil.rmtree(job.folder / "checkpoint", ignore_errors=True)
    return DpoResult(steps, teller.stopped, seconds)


class _Clock:
    """Seconds of training, those before a resume included. ``limit`` 0 means no limit."""

    def __init__(self, limit: float) -> None:
        self.limit, self.before, self._began = limit, 0.0, time.monotonic()

    def start(self) -> None:
        self._began = time.monotonic()

    def elapsed(self) -> float:
        return self.before + time.monotonic() - self._began

    def share(self) -> float:
        return self.elapsed() / self.limit if self.limit > 0 else 0.0


def _teller_class() -> Any:
    from transformers import TrainerCallback

    class Teller(TrainerCallback):
        """At each step's end: tell it, look at the model where it is time, stop or save where asked."""

        def __init__(
            self,
            job: DpoJob,
            trainer: Any,
            observer: Observer,
            clock: _Clock,
            emit: Emit,
            should_stop: Callable[[], bool],
        ) -> None:
            self._job, self._trainer, self._observer = job, trainer, observer
            self._clock, self._emit, self._should_stop = clock, emit, should_stop
            self._first_step = 0
            self._step_began = self._saved = self._saving_began = time.monotonic()
            self._save_cost = 0.0
            self.stopped = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._first_step = state.global_step

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._step_began = time.monotonic()
            self._trainer.tally = StepTally()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            step, dpo, now = state.global_step, self._job.recipe.dpo, time.monotonic()
            done = step >= state.max_steps
            if dpo.max_seconds > 0 and self._clock.elapsed() >= dpo.max_seconds:
                control.should_training_stop = done = True
            self._tell(state, now, done)
            if not done and self._should_stop():
                self.stopped = control.should_training_stop = control.should_save = True
            if step == 1:
                self._observer.look_at_base()
            if control.should_training_stop or done:
                return  # the end is looked at after the adapter is saved
            self._observer.look(
                step, probe=_due(step, dpo.probe_every), sample=_due(step, dpo.sample_every), training=True
            )
            if now - self._saved > max(CHECKPOINT_EVERY_S, 20 * self._save_cost):
                control.should_save = True
            if control.should_save:
                self._saving_began = time.monotonic()

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / "progress.json").write_text(json.dumps({"elapsed": self._clock.elapsed()}), encoding="utf-8")
            self._trainer._reference.save()
            self._saved = time.monotonic()
            self._save_cost = self._saved - self._saving_began

        def _tell(self, state: Any, now: float, done: bool) -> None:
            tally, dpo, elapsed = self._trainer.tally, self._job.recipe.dpo, self._clock.elapsed()
            here = state.global_step - self._first_step
            per_step = (elapsed - self._clock.before) / here
            if dpo.max_seconds > 0:
                eta = max(0.0, dpo.max_seconds - elapsed)
                total = state.global_step if done else state.global_step + max(1, math.ceil(eta / per_step))
            else:
                total = state.max_steps
                eta = (total - state.global_step) * per_step
            self._emit(
                StepEvent(
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
                    tokens_per_second=tally.tokens / max(1e-9, now - self._step_began),
                    elapsed=elapsed,
                    eta=eta,
                )
            )

    return Teller


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _check(job: DpoJob) -> None:
    dpo, lora = job.recipe.dpo, job.recipe.lora
    for name, value, choices in (
        ("loss_type", dpo.loss_type, LOSS_TYPES),
        ("scheduler", dpo.scheduler, SCHEDULERS),
        ("optimizer", dpo.optimizer, OPTIMIZERS),
    ):
        if value not in choices:
            raise RecipeError(f"{name} is {value!r}; use one of {', '.join(choices)}.")
    if not job.rows:
        raise RecipeError("There are no rows to train on; raise data_size.")
    for name, number, low in (
        ("batch_size", dpo.batch_size, 1),
        ("gradient_accumulation", dpo.gradient_accumulation, 1),
        ("rank", lora.rank, 1),
        ("alpha", lora.alpha, 1),
        ("max_length", dpo.max_length, 8),
    ):
        if number < low:
            raise RecipeError(f"{name} is {number}; it must be at least {low}.")
    if dpo.max_seconds <= 0 and not dpo.epochs > 0:
        raise RecipeError(f"epochs is {dpo.epochs}; it must be above 0 (or set max_seconds).")
    if not dpo.beta > 0:
        raise RecipeError(f"beta is {dpo.beta}; it must be above 0.")
    if not 0 <= dpo.warmup_ratio <= 1:
        raise RecipeError(f"warmup_ratio is {dpo.warmup_ratio}; it must be between 0 and 1.")
    if not 0 <= dpo.label_smoothing < 0.5 or (dpo.loss_type == "exo_pair" and dpo.label_smoothing == 0):
        raise RecipeError(
            f"label_smoothing is {dpo.label_smoothing}; it must be at least 0 and below 0.5, and above 0 for exo_pair."
        )


def _dtype(device: str) -> str:
    # float16 has no range for training without loss scaling.
    name = choose_dtype(device)
    return "float32" if name == "float16" else name


def _arguments(job: DpoJob, device: str, large: bool) -> Any:
    from trl import DPOConfig

    dpo = job.recipe.dpo
    batches = math.ceil(len(job.rows) / dpo.batch_size)
    steps = math.ceil(dpo.epochs * max(1, math.ceil(batches / dpo.gradient_accumulation)))
    optimizer = "adamw_torch_fused" if device in ("cpu", "cuda") else "adamw_torch"
    if dpo.optimizer == "paged_adamw_8bit":
        if device == "cuda":
            optimizer = "paged_adamw_8bit"
        else:
            _log.warning("paged_adamw_8bit needs CUDA; this run on %s takes plain AdamW instead.", device)
    timed = dpo.max_seconds > 0
    return DPOConfig(
        output_dir=str(job.folder / "checkpoint"),
        loss_type=[dpo.loss_type],
        beta=dpo.beta,
        label_smoothing=dpo.label_smoothing,
        router_aux_loss_coef=0.0,
        disable_dropout=False,
        learning_rate=dpo.learning_rate,
        lr_scheduler_type=dpo.scheduler,
        warmup_steps=dpo.warmup_ratio if timed else math.ceil(steps * dpo.warmup_ratio),
        num_train_epochs=dpo.epochs,
        max_steps=1_000_000 if timed else -1,
        per_device_train_batch_size=dpo.batch_size,
        gradient_accumulation_steps=dpo.gradient_accumulation,
        optim=optimizer,
        weight_decay=dpo.weight_decay,
        max_grad_norm=dpo.max_grad_norm,
        seed=dpo.seed,
        data_seed=dpo.seed,
        use_cpu=device == "cpu",
        bf16=False,  # weights and activations are in the base's dtype already, the adapter in float32
        activation_checkpointing=device == "cuda" and large,
        max_length=None,
        save_strategy="no",
        save_total_limit=1,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )


def _lora(recipe: Recipe) -> Any:
    from peft import LoraConfig

    targets = recipe.lora.target_modules.strip()
    return LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=targets
        if targets == "all-linear"
        else [name.strip() for name in targets.split(",") if name.strip()],
        task_type="CAUSAL_LM",
    )


def _attention_bytes(config: Any, pairs: Any, batch_size: int) -> int:
    """What plain attention keeps for the backward pass: scores and weights of every layer, two or four bytes each."""
    length = max(len(answer) for pair in pairs for answer in pair)
    return 2 * 4 * config.num_hidden_layers * config.num_attention_heads * 2 * batch_size * length * length


def _warn_of_cuts(pairs: Any, max_length: int) -> None:
    cut = sum(1 for pair in pairs for answer in pair if len(answer) >= max_length)
    if cut:
        _log.warning("%d of %d answers reach max_length %d and are cut there.", cut, 2 * len(pairs), max_length)


def _base_name(job: DpoJob, dtype: str) -> str:
    print_ = job.recipe.base.fingerprint
    if not print_ and Path(job.base_path).is_dir():
        print_ = fingerprint(job.base_path)
    kind = "nf4" if job.recipe.dpo.load_in_4bit else dtype
    return f"{print_[:32]}-{kind}" if print_ else ""


def _public_id(base_id: str) -> str:
    """A base's id as it may leave this machine: of a local folder only its last name."""
    path = Path(base_id)
    return path.name if path.is_absolute() or base_id.startswith((".", "~")) else base_id


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint: the trainer's state is written last."""
    found = [path for path in folder.glob("checkpoint-*") if (path / STATE_FILE).is_file()]
    return max(found, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def _read_progress(checkpoint: Path) -> float:
    path = checkpoint / "progress.json"
    return float(json.loads(path.read_text(encoding="utf-8"))["elapsed"]) if path.is_file() else 0.0
