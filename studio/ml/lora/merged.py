"""A LoRA adapter folded into the base's weights for a while, so that answers cost what the base's cost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def merged(model: Any) -> Iterator[None]:
    """Within the block the active adapter of the PEFT ``model`` is added into the base's weights; afterwards these are what they
    were to the last bit (PEFT's own unmerge subtracts, which in bfloat16 rounds).

    The adapter is left as it is where it is switched off, merged already, or sits on quantised weights.
    """
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    if any(layer.disable_adapters or layer.merged for layer in layers) or not all(
        weight.is_floating_point() for weight in weights
    ):
        yield
        return
    kept = [weight.data.clone() for weight in weights]
    try:
        for layer in layers:
            layer.merge()
        yield
    finally:
        for layer, weight, values in zip(layers, weights, kept, strict=True):
            if layer.merged:
                layer.unmerge()
            weight.data.copy_(values)
