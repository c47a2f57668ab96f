"""What every training here shares, whatever its loss: its arguments, its checks, its habits, its files.

TRL's trainers are taken as they are but for their silent habits, which :class:`Habits` switches off: rows come prepared
and none is dropped; a checkpoint holds the adapter as safetensors and no pickled arguments; nothing is reported to
anybody; a loss or gradient that is not a number ends the run before it reaches the weights.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.domain.detox import DetoxSettings
from studio.domain.runs import DpoSettings, LoraSettings, Recipe, RewardSettings
from studio.errors import RecipeError, TrainingError
from studio.ml.loading import choose_dtype, four_bit_reason, resolve_device

if TYPE_CHECKING:
    from studio.ml.dpo_steps import Clock

_log = logging.getLogger(__name__)

ADAPTER_FILE = "adapter_model.safetensors"
#: Written last into a checkpoint, so that one without it is known to be incomplete.
STATE_FILE = "trainer_state.json"
SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")
OPTIMIZERS = ("adamw", "paged_adamw_8bit")
_LARGE_MODEL = 1_000_000_000
#: A schedule over time has this many steps.
_TICKS = 1000
#: Steps of a run that a time limit ends: more than it will ever do.
TIMED_STEPS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What every training is given; a method's own job adds its data.

    Attributes:
        base_path: local folder, or an id in the local hub cache.
        folder: the run folder.
        resume: go on from the checkpoint in ``folder``, where there is one.
        threads: CPU threads.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """

    recipe: Recipe
    base_path: str | Path
    folder: Path
    resume: bool
    threads: int
    device: str
    trust_remote_code: bool


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended: steps done in all, whether a stop request ended it, seconds of training in all."""

    steps: int
    stopped: bool
    seconds: float


@dataclass
class StepTally:
    """Sums over the pairs of one optimiser step (all its micro-batches), in nats."""

    pairs: int = 0
    tokens: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    grad_norm: float = math.nan
    learning_rate: float = math.nan

    def add(self, pairs: int, tokens: int, **totals: float) -> None:
        """Count a micro-batch."""
        self.pairs += pairs
        self.tokens += tokens
        for name, value in totals.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def mean(self, name: str) -> float:
        """Mean of a quantity over the step's pairs; NaN for one that this training does not have."""
        return self.sums.get(name, math.nan) / self.pairs


class Habits:
    """Goes before a TRL trainer among a class's parents; see the module.

    ``tally`` holds the figures of the step in progress; ``timed`` replaces the schedule over steps by one over time: it
    returns the share of the time that has passed.
    """

    args: Any
    state: Any
    model: Any
    optimizer: Any
    lr_scheduler: Any

    def __init__(self, *, base_id: str, timed: Any = None, **options: Any) -> None:
        self._base_id, self._timed = base_id, timed
        self.tally = StepTally()
        super().__init__(**options)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _send_telemetry(self) -> None:
        pass

    def create_model_card(self, *_: Any, **__: Any) -> None:
        pass

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # counting walks all parameters on every step

    def _check_loss(self, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss became {value} at step {self.state.global_step + 1}; nothing of that step was kept. "
                f"{self._calmer()}"
            )

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        self.tally.grad_norm = math.nan if norm is None else float(norm)
        if norm is not None and not math.isfinite(self.tally.grad_norm):
            raise TrainingError(
                f"The gradient became {self.tally.grad_norm} at step {self.state.global_step + 1}; nothing of that "
                f"step was kept. {self._calmer()}"
            )
        return norm

    def _calmer(self) -> str:
        return (
            f"Try a smaller learning rate (now {self.args.learning_rate:g}) or a longer warm-up, and look for odd "
            "rows in the data."
        )

    def _get_learning_rate(self) -> float:
        self.tally.learning_rate = super()._get_learning_rate()  # type: ignore[misc]
        return self.tally.learning_rate

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule over steps, or over time where the run has a time limit."""
        if self._timed is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)  # type: ignore[misc]
        # One step may be long or short: a schedule in thousandths of the time reaches its end when the time does.
        import torch
        from transformers import get_scheduler

        target: Any = optimizer or self.optimizer
        steps = get_scheduler(
            self.args.lr_scheduler_type,
            optimizer=target,
            num_warmup_steps=math.ceil(_TICKS * self.args.warmup_steps),
            num_training_steps=_TICKS,
        )
        shape = steps.lr_lambdas[0]
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            target, lambda step: shape(max(1.0, min(1.0, self._timed()) * _TICKS))
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_adapter(self.model, Path(output_dir or str(self.args.output_dir)), self._base_id)


def save_adapter(model: Any, folder: Path, base_id: str) -> None:
    """Write the active adapter of a PEFT model as :func:`write_adapter` does."""
    from peft import get_peft_model_state_dict

    # Without this PEFT asks the hub whether the base's vocabulary was resized.
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    write_adapter(tensors, model.peft_config[model.active_adapter], folder, base_id)


def write_adapter(tensors: dict[str, Any], config: Any, folder: Path, base_id: str) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``, each replaced at once.

    The config names the base by its id, never by a path on this machine.
    """
    from safetensors.torch import save_file

    config = copy.deepcopy(config)
    config.base_model_name_or_path = base_id
    config.inference_mode = True
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    if config.modules_to_save is not None:  # PEFT adds its usual names to ours, whether there are such layers or not
        config.modules_to_save = sorted({n for n in config.modules_to_save if any(f".{n}." in key for key in tensors)})
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (ADAPTER_FILE + ".tmp")
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, {"format": "pt"})
        os.replace(temporary, folder / ADAPTER_FILE)
    finally:
        temporary.unlink(missing_ok=True)
    config.save_pretrained(str(folder))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint: the trainer's state is written last."""
    found = [path for path in folder.glob("checkpoint-*") if (path / STATE_FILE).is_file()]
    return max(found, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def read_progress(checkpoint: Path) -> float:
    """Seconds trained before the checkpoint."""
    path = checkpoint / "progress.json"
    return float(json.loads(path.read_text(encoding="utf-8"))["elapsed"]) if path.is_file() else 0.0


def start_device(job: TrainingJob, load_in_4bit: bool) -> str:
    """Set this process's CPU threads; the device the job trains on.

    Raises:
        RecipeError: 4 bits are asked for and cannot be had there.
    """
    import torch

    torch.set_num_threads(job.threads)
    device = resolve_device(job.device)
    if load_in_4bit and (reason := four_bit_reason(device, training=True)):
        raise RecipeError(reason)
    return device


def train_to_end(
    job: TrainingJob,
    trainer: Any,
    teller: Any,
    clock: Clock,
    base_id: str,
    last_look: Callable[[int], None],
    save: Callable[[Any, Path, str], None] | None = None,
) -> TrainingResult:
    """Train, from the newest checkpoint where the job resumes, until the end or a stop request, and save the adapter.

    ``teller`` is told of each step and knows whether a stop was asked for (:func:`studio.ml.dpo_steps.teller_class`).
    ``last_look`` is given the step once the adapter is saved. A stopped run keeps its checkpoint. ``save`` takes the place of
    :func:`save_adapter` where the adapter is more than what was trained.
    """
    trainer.add_callback(teller)
    checkpoints = job.folder / "checkpoint"
    checkpoint = last_checkpoint(checkpoints) if job.resume else None
    if checkpoint is not None:
        clock.before = read_progress(checkpoint)
    clock.start()
    with warnings.catch_warnings():  # TRL asks transformers by an old name at every step; nobody here can mend that
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds, steps = clock.elapsed(), trainer.state.global_step
    (save or save_adapter)(trainer.model, job.folder, base_id)
    last_look(steps)
    if not teller.stopped:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return TrainingResult(steps, teller.stopped, seconds)


def check_training(recipe: Recipe, rows: int) -> None:
    """Name the first setting, of those that every training on pairs has, that cannot be trained with.

    Raises:
        RecipeError
    """
    settings, lora = recipe.training, recipe.lora
    check_common(settings, lora)
    if not rows:
        raise RecipeError("There are no rows to train on; raise data_size.")
    at_least(("batch_size", settings.batch_size, 1), ("gradient_accumulation", settings.gradient_accumulation, 1))
    if settings.max_seconds <= 0 and not settings.epochs > 0:
        raise RecipeError(f"epochs is {settings.epochs}; it must be above 0 (or set max_seconds).")


def check_common(settings: DpoSettings | RewardSettings | DetoxSettings, lora: LoraSettings) -> None:
    """Name the first setting, of those that every method has, that cannot be trained with.

    Raises:
        RecipeError
    """
    for name, value, choices in (
        ("scheduler", settings.scheduler, SCHEDULERS),
        ("optimizer", settings.optimizer, OPTIMIZERS),
    ):
        if value not in choices:
            raise RecipeError(f"{name} is {value!r}; use one of {', '.join(choices)}.")
    at_least(("rank", lora.rank, 1), ("alpha", lora.alpha, 1), ("max_length", settings.max_length, 8))
    if not 0 <= settings.warmup_ratio <= 1:
        raise RecipeError(f"warmup_ratio is {settings.warmup_ratio}; it must be between 0 and 1.")


def at_least(*bounds: tuple[str, int, int]) -> None:
    """Name the first of these ``(name, value, least)`` that is too small.

    Raises:
        RecipeError
    """
    for name, number, low in bounds:
        if number < low:
            raise RecipeError(f"{name} is {number}; it must be at least {low}.")


def training_dtype(device: str) -> str:
    """The arithmetic of a training on ``device``: ``bfloat16`` or ``float32``."""
    # float16 has no range for training without loss scaling.
    name = choose_dtype(device)
    return "float32" if name == "float16" else name


def shared_arguments(recipe: Recipe, rows: int, folder: Path, device: str, parameters: int) -> dict[str, Any]:
    """What TRL's config of a method on pairs is given for ``rows`` training rows on a base of ``parameters`` weights."""
    settings = recipe.training
    batches = math.ceil(rows / settings.batch_size)
    steps = math.ceil(settings.epochs * max(1, math.ceil(batches / settings.gradient_accumulation)))
    return {
        **common_arguments(settings, steps, folder, device, parameters),
        "num_train_epochs": settings.epochs,
        "max_steps": TIMED_STEPS if settings.max_seconds > 0 else -1,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "max_length": None,
    }


def common_arguments(
    settings: DpoSettings | RewardSettings | DetoxSettings, steps: int, folder: Path, device: str, parameters: int
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
        "warmup_steps": settings.warmup_ratio if settings.max_seconds > 0 else math.ceil(steps * settings.warmup_ratio),
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


def lora_options(recipe: Recipe) -> dict[str, Any]:
    """What PEFT's ``LoraConfig`` is given for any method; the task type is the method's own."""
    targets = recipe.lora.target_modules.strip()
    names: Sequence[str] = [name.strip() for name in targets.split(",") if name.strip()]
    return {
        "r": recipe.lora.rank,
        "lora_alpha": recipe.lora.alpha,
        "lora_dropout": recipe.lora.dropout,
        "target_modules": targets if targets == "all-linear" else list(names),
    }
