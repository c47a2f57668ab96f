"""A run's recipe as what TRL and PEFT are given, checked first so that a bad value is named and never reaches them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.domain import MeasureEvent, PreferencePair, PreferenceRow, ProbeEvent, Recipe, SampleEvent, StepEvent
from studio.errors import RecipeError
from studio.ml.loading import choose_dtype, fingerprint
from studio.ml.pairs import EncodedAnswer

_log = logging.getLogger(__name__)

Event = StepEvent | ProbeEvent | SampleEvent | MeasureEvent
Emit = Callable[[Event], None]
Pairs = Sequence[tuple[EncodedAnswer, EncodedAnswer]]

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
#: Attention scores kept for the backward pass up to which CPU attention is plain matrix products (bytes).
_EAGER_BYTES, _BYTES_A_SCORE = 2**30, 8
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


def check_job(job: DpoJob) -> None:
    """Name the first setting that cannot be trained with.

    Raises:
        RecipeError
    """
    dpo, lora = job.recipe.dpo_settings, job.recipe.lora
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


def training_dtype(device: str) -> str:
    """The arithmetic of a training on ``device``: ``bfloat16`` or ``float32``."""
    # float16 has no range for training without loss scaling.
    name = choose_dtype(device)
    return "float32" if name == "float16" else name


def trl_arguments(job: DpoJob, device: str, parameters: int) -> Any:
    """``DPOConfig`` of a job on a base of ``parameters`` weights."""
    from trl import DPOConfig

    dpo = job.recipe.dpo_settings
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
        activation_checkpointing=device == "cuda" and parameters > _LARGE_MODEL,
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


def lora_config(recipe: Recipe) -> Any:
    """PEFT's ``LoraConfig`` of a recipe."""
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


def choose_attention(model: Any, device: str, pairs: Pairs, batch_size: int) -> None:
    """On a CPU take plain matrix products for attention while what they keep for the backward pass is small.

    The fused kernel's backward pass takes about ten times as long there at the lengths of short answers.
    """
    if device != "cpu":
        return
    config = model.config.get_text_config()
    length = max(len(answer) for pair in pairs for answer in pair)
    scores = config.num_hidden_layers * config.num_attention_heads * 2 * batch_size * length * length
    if scores * _BYTES_A_SCORE <= _EAGER_BYTES:
        model.set_attn_implementation("eager")


def warn_of_cuts(pairs: Pairs, max_length: int) -> None:
    """Say in the log how many answers ``max_length`` cut."""
    cut = sum(1 for pair in pairs for answer in pair if len(answer) >= max_length)
    if cut:
        _log.warning("%d of %d answers reach max_length %d and are cut there.", cut, 2 * len(pairs), max_length)


def base_name(job: DpoJob, dtype: str) -> str:
    """What names base and arithmetic in the caches: fingerprint and dtype; empty where the base has no fingerprint."""
    mark = job.recipe.base.fingerprint
    if not mark and Path(job.base_path).is_dir():
        mark = fingerprint(job.base_path)
    kind = "nf4" if job.recipe.dpo_settings.load_in_4bit else dtype
    return f"{mark[:32]}-{kind}" if mark else ""


def public_id(base_id: str) -> str:
    """A base's id as it may leave this machine: of a local folder only its last name."""
    path = Path(base_id)
    return path.name if path.is_absolute() or base_id.startswith((".", "~")) else base_id
