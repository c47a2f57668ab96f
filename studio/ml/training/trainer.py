"""What differs from TRL's trainers whatever the loss, and the files a training leaves.

:class:`TrainerOverrides` switches off what TRL and transformers do unasked: rows come prepared and none is dropped; a
checkpoint holds the adapter as safetensors and no pickled arguments; nothing is reported to anybody; a loss or gradient that
is not a number ends the run before it reaches the weights.
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from studio.errors import TrainingError
from studio.ml.training.steps import StepTally

ADAPTER_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
#: Written last into a checkpoint, so that one without it is known to be incomplete.
STATE_FILE = "trainer_state.json"
#: A schedule over time has this many steps.
_TICKS = 1000


class TrainerOverrides:
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
        self._share = self._warmup_share = 0.0
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
                f"{self._advice()}"
            )

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        self.tally.grad_norm = math.nan if norm is None else float(norm)
        if norm is not None and not math.isfinite(self.tally.grad_norm):
            raise TrainingError(
                f"The gradient became {self.tally.grad_norm} at step {self.state.global_step + 1}; nothing of that "
                f"step was kept. {self._advice()}"
            )
        return norm

    def _advice(self) -> str:
        return (
            f"Try a smaller learning rate (now {self.args.learning_rate:g}) or a longer warm-up, and look for odd "
            "rows in the data."
        )

    def _get_learning_rate(self) -> float:
        """The rate of the step just done: the optimiser's, as :meth:`end_warmup` may have raised it above the schedule's."""
        self.tally.learning_rate = float(self.optimizer.param_groups[0]["lr"])
        return self.tally.learning_rate

    def end_warmup(self) -> None:
        """Before the update that the time limit makes the last one: it is made at the full rate where it is the only one, or its own
        rate lies in the warm-up. A run with time for a single step would else end as it began."""
        if self.state.global_step == 0 or self._share < self._warmup_share:
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule over steps, or over time where the run has a time limit."""
        if self._timed is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)  # type: ignore[misc]
        # One step may be long or short: a schedule in thousandths of the time reaches its end when the time does.
        import torch
        from transformers import get_scheduler

        target: Any = optimizer or self.optimizer
        warmup = min(math.ceil(_TICKS * self.args.warmup_steps), _TICKS - 1)
        steps = get_scheduler(
            self.args.lr_scheduler_type, optimizer=target, num_warmup_steps=warmup, num_training_steps=_TICKS
        )
        shape = steps.lr_lambdas[0]
        self._warmup_share = warmup / _TICKS

        def rate(step: int) -> float:
            self._share = min(1.0, self._timed())
            return float(shape(max(1.0, self._share * _TICKS)))

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(target, rate)
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
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, each replaced at once, the weights last: a folder that has them
    is whole, whenever its writer was killed.

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
    beside = folder / ".adapter"  # a fixed name: what a killed writer left is written over and goes
    beside.mkdir(parents=True, exist_ok=True)
    try:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, beside / ADAPTER_FILE, {"format": "pt"}
        )
        config.save_pretrained(str(beside))
        for name in (CONFIG_FILE, ADAPTER_FILE):
            os.replace(beside / name, folder / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def weight_change(model: Any) -> float:
    """How far a PEFT model's active adapter is from doing nothing: the Frobenius norm of all LoRA updates ``scale * B @ A``, and of
    what modules trained whole (a reward model's head) moved from their first values, taken together. 0: it equals the base."""
    from peft.tuners.lora.layer import LoraLayer
    from peft.utils import ModulesToSaveWrapper

    name, squares = model.active_adapter, 0.0
    lora: Any = LoraLayer  # PEFT's own types make its weights modules
    modules: list[Any] = list(model.modules())
    for module in modules:
        if isinstance(module, lora) and name in module.lora_A:
            down, up = (part[name].weight.detach().double() for part in (module.lora_A, module.lora_B))
            # the norm of a product of rank r from matrices of r x r
            squares += module.scaling[name] ** 2 * float(((up.t() @ up) * (down @ down.t())).sum())
        elif isinstance(module, ModulesToSaveWrapper) and name in module.modules_to_save:
            first = dict(module.original_module.named_parameters())
            for part, weight in module.modules_to_save[name].named_parameters():
                squares += float((weight.detach().double() - first[part].detach().double()).pow(2).sum())
    return math.sqrt(max(0.0, squares))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint: the trainer's state is written last."""
    complete = [path for path in folder.glob("checkpoint-*") if (path / STATE_FILE).is_file()]
    return max(complete, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def read_progress(checkpoint: Path) -> float:
    """Seconds trained before the checkpoint."""
    path = checkpoint / "progress.json"
    return float(json.loads(path.read_text(encoding="utf-8"))["elapsed"]) if path.is_file() else 0.0
