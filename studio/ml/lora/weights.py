"""What only the numbers in an adapter's file tell: whether they are finite, and whether embeddings saved beside the LoRA layers
are the base's own."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: The embeddings of a base whose head is tied to them.
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "shared.weight")
#: Weights of linear layers, by the names that most architectures give them.
_LINEAR = re.compile(r"\.(q|k|v|o|gate|up|down)_proj\.weight$")


def scaled(source: Path, target: Path, strength: float) -> None:
    """Write ``source``, the LoRA weights of an adapter, with its update of the base multiplied by ``strength``: the upper factor of each
    product is, in float32, and keeps its number format."""
    from safetensors.torch import load_file, save_file

    upper = re.compile(r"\.lora_(embedding_)?B(\.|$)")
    tensors = {
        name: (tensor.float() * strength).to(tensor.dtype) if upper.search(name) else tensor
        for name, tensor in load_file(source).items()
    }
    save_file(tensors, target, metadata={"format": "pt"})


def write_zeros(base: Path, target: Path) -> bool:
    """Write an adapter of ``base`` that changes nothing (one layer, rank 1, all zeros) into ``target``, as PEFT saves one; False where no
    layer of it has a usual name."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    for file in sorted(base.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            key = next((key for key in sorted(weights.keys()) if _LINEAR.search(key)), None)
            if key is None:
                continue
            rows, columns = weights.get_slice(key).get_shape()
        layer = key.removesuffix(".weight")
        at = f"base_model.model.{layer}.lora"
        zeros = {f"{at}_A.weight": torch.zeros(1, columns), f"{at}_B.weight": torch.zeros(rows, 1)}
        save_file(zeros, target / "adapter_model.safetensors", metadata={"format": "pt"})
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 1, "target_modules": [layer]}
        (target / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        return True
    return False


def not_finite(path: Path) -> str:
    """The first tensor of a safetensors file that holds NaN or infinity, or that does in float32, in which adapters are
    computed; empty where none does."""
    import torch
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            if not bool(torch.isfinite(file.get_tensor(name).float()).all()):
                return name
    return ""


def trained(path: Path, whole: Mapping[str, str], base_folder: Path) -> list[str]:
    """Which of an adapter's whole tensors (``whole``: tensor by name of the base's weight) are not copies of the base's weights;
    by the base's names. A head that the base does not have as a weight of its own is compared with its embeddings."""
    from safetensors import safe_open

    changed = []
    with safe_open(path, framework="pt") as file:
        for weight, tensor in whole.items():
            own = _base_weight(base_folder, weight)
            copy = file.get_tensor(tensor)
            if own is None or own.shape != copy.shape or not bool((own.to(copy.dtype) == copy).all()):
                changed.append(weight)
    return changed


def rewrite_without(path: Path, names: Collection[str]) -> None:
    """Replace a safetensors file by one without these tensors.

    Raises:
        OSError: the disk is full; the old file is untouched.
    """
    from safetensors.torch import load_file, save_file

    kept = {name: tensor for name, tensor in load_file(path).items() if name not in names}
    new = path.with_name(f".{path.name}-new")
    try:
        save_file(kept, new, metadata={"format": "pt"})
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _base_weight(folder: Path, name: str) -> torch.Tensor | None:
    """A weight of the base; for a head without one of its own its embeddings."""
    from safetensors import safe_open

    embeddings = None
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            if name in keys:
                return file.get_tensor(name)
            tied = next((key for key in keys if key.endswith(_EMBEDDINGS)), None)
            embeddings = file.get_tensor(tied) if tied else embeddings
    return embeddings
