"""Small models with random weights of the families that transformers knows."""

from __future__ import annotations

from typing import Any

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 400,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}


def family(name: str, **settings: Any) -> Any:
    """A random six-layer model of a family, in float32: of Gemma 3 five layers slide over four tokens, of LFM2 two convolve."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = {"Gemma3": "Gemma3TextConfig"}.get(name, f"{name}Config")
    own = {"Gemma3": {"sliding_window": 4}, "Lfm2": {"layer_types": ["conv", *["full_attention"] * 4, "conv"]}}.get(
        name, {}
    )
    return getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, config)(**SMALL, **own, **settings)).eval()
