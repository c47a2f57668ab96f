"""What every training sets up: precision, LoRA, attention, the arguments of TRL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.domain.bases import hub_id
from studio.domain.runs import DetoxRecipe, DpoRecipe, KtoRecipe, RewardRecipe, RowsRecipe
from studio.domain.settings import LoraSettings, TrainingSettings
from studio.errors import RecipeError
from studio.ml.models.loading import choose_dtype, fingerprint, four_bit_reason, resolve_device
from studio.ml.training.pairs import EncodedAnswer
from studio.ml.training.trunk import Trunk, decoder_layers, open_trunk

_log = logging.getLogger(__name__)

#: The answers of each training row: two of a pair, one that has a thumb.
Rows = Sequence[tuple[EncodedAnswer, ...]]

#: Attention scores kept for the backward pass up to which CPU attention is plain matrix products (bytes).
_EAGER_BYTES, _BYTES_A_SCORE = 2**30, 8


def lora_config(lora: LoraSettings, model: Any, task_type: str, modules_to_save: list[str] | None = None) -> Any:
    """PEFT's ``LoraConfig`` for ``model``; ``modules_to_save`` are trained whole beside it.

    Raises:
        RecipeError: a part of the layers is to be trained and this family's layers cannot be told apart.
    """
    from peft import LoraConfig

    targets: str | list[str] = lora.target_modules.strip()
    if targets != "all-linear":
        targets = [name.strip() for name in str(targets).split(",") if name.strip()]
    part = None
    if lora.layers.strip() != "all":
        layers = decoder_layers(model)
        if layers is None:
            raise RecipeError(
                f"Layers is {lora.layers}, but the layers of this base ({model.config.model_type}) cannot be told apart; choose all."
            )
        part = list(range(lora.first_layer(len(layers)), len(layers)))
        if targets == "all-linear":  # PEFT takes a part of the layers for named modules only
            targets = linear_names(layers)
    return LoraConfig(
        task_type=task_type,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        layers_to_transform=part,
        modules_to_save=modules_to_save,
    )


def linear_names(layers: Any) -> list[str]:
    """Last names of the linear modules inside ``layers``, sorted."""
    import torch

    return sorted({name.rpartition(".")[2] for name, m in layers.named_modules() if isinstance(m, torch.nn.Linear)})


def longest(rows: Rows) -> int:
    """Tokens of the longest answer of some rows, its prompt included."""
    return max(len(answer) for row in rows for answer in row)


def token_limit(model: Any, max_length: int) -> int:
    """``max_length`` or the longest input the model has positions for, whichever is less, in tokens."""
    return min(max_length, getattr(model.config.get_text_config(), "max_position_embeddings", None) or max_length)


def choose_attention(model: Any, device: str, rows: int, length: int, first: int = 0) -> None:
    """On a CPU take plain matrix products for attention while what the layers from ``first`` on keep for the backward pass is small.

    The fused kernel's backward pass takes about ten times as long there at the lengths of short answers; answers are still drawn with it
    (:func:`studio.ml.measure.answers.continue_ids`). ``rows`` of at most ``length`` tokens go through the model in a step's backward pass.
    """
    if device != "cpu":
        return
    config = model.config.get_text_config()
    scores = (config.num_hidden_layers - first) * config.num_attention_heads * rows * length * length
    if scores * _BYTES_A_SCORE <= _EAGER_BYTES:
        model.attention_of_answers = model.config._attn_implementation
        model.set_attn_implementation("eager")


def public_id(base_id: str) -> str:
    """A base's id as other programs know it: its name on the Hub where it has one, of a local folder only its last name."""
    path = Path(base_id)
    return path.name if path.is_absolute() or base_id.startswith((".", "~")) else hub_id(base_id)


_LARGE_MODEL = 1_000_000_000


#: What is said of a run on pairs without any.
NO_ROWS = "There are no rows to train on; raise data_size."
#: Steps of a run that a time limit ends: more than it will ever do.
TIMED_STEPS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What every training is given; a method's own job adds its data.

    Attributes:
        base_path: local folder, or an id in the local hub cache.
        folder: the run folder.
        start: folder of the adapter to go on from; None: from the base.
        steps_kept, steps_mb: bounds of :class:`studio.ml.lora.snapshots.Snapshots`.
        resume: go on from the checkpoint in ``folder``, where there is one.
        threads: CPU threads just now; asked at each step.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        cache_dir: where reference log-probabilities, hidden states and measures of the base are kept between runs.
        states_mb: hidden states of layers that are not trained held in memory (MB); more of them are read from their files.
    """

    recipe: DpoRecipe | KtoRecipe | RewardRecipe | DetoxRecipe
    base_path: str | Path
    folder: Path
    resume: bool
    threads: Callable[[], int]
    device: str
    trust_remote_code: bool
    cache_dir: Path
    states_mb: int = 512
    start: Path | None = None
    steps_kept: int = 0
    steps_mb: int = 0


def base_name(job: TrainingJob, dtype: str) -> str:
    """What names in the caches what a run starts from: fingerprint of the base, dtype, and hash of the adapter it goes on from; empty
    where one of them is not known."""
    mark = job.recipe.base.fingerprint
    if not mark and Path(job.base_path).is_dir():
        mark = fingerprint(job.base_path)
    kind = "nf4" if job.recipe.settings.load_in_4bit else dtype
    start = job.recipe.start_hash
    if not mark or (job.start is not None and not start):
        return ""
    return f"{mark[:32]}-{kind}" + (f"-{start}" if start else "")


def keep_states(
    job: TrainingJob, dtype: str, model: Any, answers: Sequence[EncodedAnswer], pad_id: int
) -> Trunk | None:
    """Kept states of ``answers`` below the layers that the job trains; None where it trains all, see :func:`open_trunk`."""
    first, name = first_layer(job, model), base_name(job, dtype)
    folder = job.cache_dir / "states" / f"{name}-{first}" if name else None
    return open_trunk(model, first, answers, pad_id, folder, job.states_mb * 2**20)


def first_layer(job: TrainingJob, model: Any) -> int:
    """Index of the lowest layer of ``model`` that the job trains; 0 where its layers cannot be told apart."""
    layers = decoder_layers(model)
    return job.recipe.lora.first_layer(len(layers)) if layers is not None else 0


def start_device(job: TrainingJob) -> str:
    """Set this process's CPU threads; the device the job trains on.

    Raises:
        RecipeError: 4 bits are asked for and cannot be had there.
    """
    import torch

    torch.set_num_threads(job.threads())
    device = resolve_device(job.device)
    if job.recipe.settings.load_in_4bit and (reason := four_bit_reason(device, training=True)):
        raise RecipeError(reason)
    return device


def training_dtype(device: str) -> str:
    """The arithmetic of a training on ``device``: ``bfloat16`` or ``float32``."""
    # float16 has no range for training without loss scaling.
    name = choose_dtype(device)
    return "float32" if name == "float16" else name


def pair_arguments(recipe: RowsRecipe, rows: int, folder: Path, device: str, parameters: int) -> dict[str, Any]:
    """What TRL's config of a method on pairs is given for ``rows`` training rows on a base of ``parameters`` weights."""
    settings = recipe.settings
    return {
        **common_arguments(settings, settings.steps(rows), folder, device, parameters),
        "num_train_epochs": settings.passes(rows),
        "max_steps": TIMED_STEPS if settings.max_seconds > 0 else -1,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "max_length": None,
    }


def common_arguments(
    settings: TrainingSettings, steps: int, folder: Path, device: str, parameters: int
) -> dict[str, Any]:
    """What TRL's config of any method is given for ``steps`` steps on a base of ``parameters`` weights."""
    optimizer = "adamw_torch_fused" if device in ("cpu", "cuda") else "adamw_torch"
    if settings.optimizer == "paged_adamw_8bit":
        if device == "cuda":
            optimizer = "paged_adamw_8bit"
        else:
            _log.warning("paged_adamw_8bit needs CUDA; this run on %s takes plain AdamW instead.", device)
    return {
        "output_dir": str(folder / "checkpoint"),
        "disable_dropout": False,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        # a share of the time where time ends the run
        "warmup_steps": settings.warmup_ratio if settings.max_seconds > 0 else settings.warmup_steps(steps),
        "optim": optimizer,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "use_cpu": device == "cpu",
        "bf16": False,  # weights and activations are in the base's dtype already, the adapter in float32
        "activation_checkpointing": device == "cuda" and parameters > _LARGE_MODEL,
        "save_strategy": "no",
        "save_total_limit": 1,
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
    }
