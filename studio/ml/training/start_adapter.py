"""A run that goes on from an adapter: base and start adapter together are its reference.

The start adapter is added to the output of the base's own layers while the run lasts, so that "adapter off" means the start,
for every part of TRL, and no weight is rounded. What is saved is one LoRA for the untouched base: low-rank products add up,
so the ranks are laid one behind the other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.ml.lora.mixed import read_adapter
from studio.ml.training.trainer import write_adapter

if TYPE_CHECKING:
    import torch


class StartAdapter:
    """The adapter in ``folder``, added to the layers of ``model``, which must not be wrapped by PEFT yet.

    Raises:
        ModelLoadError: the adapter is missing or broken, of a kind that is no plain LoRA, or does not fit the base.
    """

    def __init__(self, model: Any, folder: Path) -> None:
        import torch

        self._parts = read_adapter(folder.name, folder, model, torch.float32).parts
        self._layers = [name for name, _ in model.named_modules()]
        for path, (down, up) in self._parts.items():
            model.get_submodule(path).register_forward_hook(_adding(down, up))

    def save(self, model: Any, folder: Path, base_id: str) -> None:
        """Write the start and what the PEFT model ``model`` learnt since as one adapter into ``folder``."""
        import torch

        learnt = _learnt(model)
        rank = sum(max(down.shape[1] for down, _ in parts.values()) for parts in (self._parts, learnt))
        tensors = {}
        for path in sorted(self._parts.keys() | learnt.keys()):
            pairs = [parts[path] for parts in (self._parts, learnt) if path in parts]
            down, up = torch.cat([pair[0] for pair in pairs], 1), torch.cat([pair[1] for pair in pairs], 0)
            missing = rank - down.shape[1]
            name = f"base_model.model.{path}"
            tensors[f"{name}.lora_A.weight"] = torch.nn.functional.pad(down, (0, missing)).t()
            tensors[f"{name}.lora_B.weight"] = torch.nn.functional.pad(up, (0, 0, 0, missing)).t()
        config = copy.deepcopy(model.peft_config[model.active_adapter])
        config.r = config.lora_alpha = rank  # every scale is inside the tensors
        config.rank_pattern, config.alpha_pattern, config.use_rslora = {}, {}, False
        config.target_modules = _names(self._parts.keys() | learnt.keys(), self._layers)
        # the layers of the run are not those of its start: the modules are named in full where that is needed
        config.layers_to_transform = config.layers_pattern = None
        write_adapter(tensors, config, folder, base_id)


def _learnt(model: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Module path -> ``(down [in, rank], up [rank, out])`` of a PEFT model's active adapter, its scale inside ``up``."""
    from peft.tuners.lora.layer import LoraLayer

    kind: Any = LoraLayer  # PEFT's own types make its weights modules
    name, factors = model.active_adapter, {}
    for path, layer in model.get_base_model().named_modules():
        if isinstance(layer, kind) and name in layer.lora_A:
            down, up = (part[name].weight.detach().float().t() for part in (layer.lora_A, layer.lora_B))
            factors[path] = (down, up * layer.scaling[name])
    return factors


def _adding(down: torch.Tensor, up: torch.Tensor) -> Callable[..., torch.Tensor]:
    def hook(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return output + ((inputs[0].to(down.dtype) @ down) @ up).to(output.dtype)

    return hook


def _names(paths: set[str], layers: list[str]) -> list[str]:
    """Names by which PEFT finds exactly these layers: their last parts, or where those would catch others, whole paths."""
    last = {path.rsplit(".", 1)[-1] for path in paths}
    caught = {layer for layer in layers if layer.rsplit(".", 1)[-1] in last}
    return sorted(last) if caught == paths else sorted(paths)
