"""A LoRA layer's forward and backward with no more matrix work than the mathematics asks for.

PEFT's layer casts its input to the adapter's float32, scales and adds in passes of their own, and repeats them backward.
On a CPU these passes over large activations cost as much as the base layer's product. Here the low-rank product is added
inside the matrix multiplication, in the base's own dtype; the adapter's weights and gradients stay float32, so that small
optimiser steps are not lost to bfloat16's eight bits.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def fuse_lora(model: Any) -> int:
    """Give every plain LoRA linear layer of a PEFT model in training the fused arithmetic; the number of layers changed.

    Layers with dropout, DoRA or another variant, quantised weights, a hook on the base's layer, or more than one active
    adapter keep PEFT's own forward, as do calls with the adapter off. Weights, names and saved files are untouched.
    """
    import torch
    from peft.tuners.lora.layer import Linear

    changed = 0
    layers: list[Any] = list(model.modules())
    for layer in layers:
        if not isinstance(layer, Linear) or type(layer.base_layer) is not torch.nn.Linear:
            continue
        if layer.base_layer._forward_hooks:
            continue
        name = layer.active_adapters[0]
        if len(layer.active_adapters) > 1 or name in layer.lora_variant:
            continue
        if not isinstance(layer.lora_dropout[name], torch.nn.Identity):
            continue
        layer.forward = types.MethodType(functools.partial(_forward, type(layer).forward, name), layer)  # type: ignore[method-assign]
        changed += 1
    return changed


def _forward(original: Any, name: str, layer: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    weight = layer.base_layer.weight
    if layer.disable_adapters or layer.merged or args or kwargs or x.dtype != weight.dtype:
        return original(layer, x, *args, **kwargs)
    return _product().apply(
        x, weight, layer.base_layer.bias, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    )


@functools.cache
def _product() -> Any:
    import torch

    class LoraProduct(torch.autograd.Function):
        """``x @ weight.T + bias + scale * (x @ a.T) @ b.T`` with gradients for ``x``, ``a`` and ``b``."""

        @staticmethod
        def forward(
            ctx: Any,
            x: torch.Tensor,
            weight: torch.Tensor,
            bias: torch.Tensor | None,
            a: torch.Tensor,
            b: torch.Tensor,
            scale: float,
        ) -> torch.Tensor:
            flat, down, up = x.reshape(-1, x.shape[-1]), a.to(weight.dtype), b.to(weight.dtype)
            low = flat @ down.t()
            out = torch.nn.functional.linear(flat, weight, bias)
            out.addmm_(low, up.t(), alpha=scale)
            ctx.save_for_backward(flat, low, weight, down, up)
            ctx.scale, ctx.adapter_dtype = scale, a.dtype
            return out.view(*x.shape[:-1], -1)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
            flat, low, weight, down, up = ctx.saved_tensors
            outer = gradient.reshape(-1, gradient.shape[-1])
            d_low = (outer @ up).mul_(ctx.scale)
            d_x = None
            if ctx.needs_input_grad[0]:
                d_x = (outer @ weight).addmm_(d_low, down).view(*gradient.shape[:-1], -1)
            d_a = (d_low.t() @ flat).to(ctx.adapter_dtype)
            d_b = (outer.t() @ low).to(ctx.adapter_dtype).mul_(ctx.scale)
            return d_x, None, None, d_a, d_b, None

    return LoraProduct
