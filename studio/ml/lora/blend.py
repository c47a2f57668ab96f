"""Two LoRA adapters as one whose update of the weights is ``w`` of the first one's plus ``1 - w`` of the second one's. Exact: the lower
factors stand side by side and the weighted upper ones below each other, so that the rank is the sum of both ranks (PEFT's
``add_weighted_adapter`` calls this ``cat``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelLoadError
from studio.ml.lora.mixed import CONFIG, WEIGHTS, Adapter, adapter_tensors, scaling

if TYPE_CHECKING:
    import torch

#: What of the first adapter's config the blend has of its own.
_PLAIN: dict[str, Any] = {
    "rank_pattern": {},
    "alpha_pattern": {},
    "use_rslora": False,
    "lora_dropout": 0.0,
    "layers_to_transform": None,
    "layers_pattern": None,
    "exclude_modules": None,
}


def blended(name: str, first: Adapter, second: Adapter, weight: float) -> Adapter:
    """The blend of two adapters on one base, for rows of a batch."""
    from torch import cat

    parts = {}
    for path in {**first.parts, **second.parts}:
        shares = ((first, weight), (second, 1 - weight))
        pairs = [(pair[0], pair[1] * share) for adapter, share in shares if (pair := adapter.parts.get(path))]
        downs, ups = zip(*pairs, strict=True)
        parts[path] = (cat(downs, 1), cat(ups, 0))
    return Adapter(name, (*first.stamp, *second.stamp), parts)


def write_blend(first: Path, second: Path, weight: float, target: Path) -> int:
    """:func:`write_sum` of two adapters' folders, ``weight`` of the first and the rest of the second."""
    return write_sum(((first, weight), (second, 1 - weight)), target)


def write_sum(shares: Sequence[tuple[Path, float]], target: Path) -> int:
    """Write the sum of adapters' folders, the update of each multiplied by its share, as a plain PEFT adapter into ``target``; its rank.
    Layers that only some of them change, and those of lower ranks, are filled up with zeros, so that it needs no patterns.

    Raises:
        ModelLoadError: one cannot be read, or is no plain LoRA.
        OSError: the disk is full.
    """
    import torch
    from safetensors.torch import save_file

    factors: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    configs = []
    for folder, share in shares:
        config, tensors = adapter_tensors(folder.name, folder)
        configs.append(config)
        for path, pair in tensors.items():
            if set(pair) != {"A", "B"}:
                raise ModelLoadError(f"The adapter {folder.name} holds one factor of {path} and not the other.")
            down, up = pair["A"].float(), pair["B"].float()
            factors.setdefault(path, []).append((down, up * (scaling(config, path, down.shape[0]) * share)))
    rank = max(sum(len(down) for down, _ in pairs) for pairs in factors.values())
    saved = {}
    for path, pairs in factors.items():
        down, up = torch.cat([pair[0] for pair in pairs], 0), torch.cat([pair[1] for pair in pairs], 1)
        more = rank - len(down)
        saved[f"base_model.model.{path}.lora_A.weight"] = torch.nn.functional.pad(down, (0, 0, 0, more)).contiguous()
        saved[f"base_model.model.{path}.lora_B.weight"] = torch.nn.functional.pad(up, (0, more)).contiguous()
    save_file(saved, target / WEIGHTS, metadata={"format": "pt"})
    config = {**configs[0], **_PLAIN, "r": rank, "lora_alpha": rank, "target_modules": sorted(factors)}
    (target / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
    return rank
