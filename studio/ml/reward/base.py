"""A base model with a scalar head on it: what a reward model is made of, for training and for scoring alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import ModelLoadError
from studio.ml.models.loading import context_length, load_weights, prepare_torch

#: More newly made layers than this below the head mean that the folder is not the whole model.
_MAX_NEW_LAYERS = 4
#: Names that heads have, for what must know them before there is a model: 4-bit leaves them alone.
_HEADS = ("score", "classifier", "pre_classifier", "pooler", "head", "lm_head")


@dataclass(frozen=True)
class RewardBase:
    """A model that gives one number a text, its head random where the base brought none.

    Attributes:
        model: in evaluation mode; the head in float32, the rest in the arithmetic asked for.
        heads: names of the layers that are trained whole and saved with the adapter (``score`` for causal models,
            ``classifier`` and its like for encoders).
        limit: the longest text it reads, in tokens, the special ones included.
    """

    model: Any
    heads: tuple[str, ...]
    limit: int


def load_reward_base(
    base_path: str | Path,
    tokenizer: Any,
    *,
    device: str,
    dtype: str,
    seed: int,
    load_in_4bit: bool = False,
    trust_remote_code: bool = False,
) -> RewardBase:
    """Load an encoder or a causal model with one output.

    ``device`` and ``dtype`` are names that were resolved already. Equal ``seed``, base and head give equal numbers: the
    random state is put back afterwards.

    Raises:
        ModelLoadError: as for a causal model; an encoder-decoder; weights missing.
    """
    prepare_torch()
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as transformers_logging

    options = {
        "num_labels": 1,
        # a classifier of three classes is a fine encoder: its head goes, the rest stays
        "ignore_mismatched_sizes": True,
        "output_loading_info": True,
        "trust_remote_code": trust_remote_code,
    }
    loud = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # that the head is new is what is wanted here
    try:
        with torch.random.fork_rng(devices=[0] if device == "cuda" else []):
            torch.manual_seed(seed)
            loader = AutoModelForSequenceClassification
            model, loaded = load_weights(loader, base_path, device, dtype, load_in_4bit, options, keep=_HEADS)
    finally:
        transformers_logging.set_verbosity(loud)
    config = model.config.get_text_config()
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelLoadError(f"{base_path} is an encoder-decoder; choose an encoder (DistilRoBERTa) or a causal model.")
    config.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id  # the score is read before the padding
    config.use_cache = False
    heads = _head_names(model, sorted(loaded["missing_keys"]), base_path)
    for name in heads:
        module = model.get_submodule(name)
        module.float()
        module.register_forward_pre_hook(_to_own_dtype)
    return RewardBase(model.eval(), heads, context_length(model, tokenizer))


def _head_names(model: Any, missing: list[str], base_path: str | Path) -> tuple[str, ...]:
    """The layers above the base, and those in it that the folder has no weights for (a pooler, say): nobody could load
    the adapter again if they were not saved with it."""
    heads = [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]
    if not heads:
        raise ModelLoadError(f"{base_path} has no layer for a score; choose another base.")
    new = {key.rsplit(".", 1)[0] for key in missing if not any(key.startswith(f"{head}.") for head in heads)}
    if len(new) > _MAX_NEW_LAYERS:
        raise ModelLoadError(f"{base_path} lacks the weights of {len(new)} layers; it is not a whole model.")
    return (*heads, *sorted(new))


def _to_own_dtype(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    dtype = next(module.parameters()).dtype
    return tuple(value.to(dtype) if getattr(value, "is_floating_point", bool)() else value for value in inputs)


def rewards_of(model: Any, batch: dict[str, Any]) -> Any:
    """One reward a row of ``batch`` (``input_ids`` and ``attention_mask``), as a float32 tensor [rows]."""
    return model(**batch).logits[:, 0].float()


def preload() -> None:
    """Import what loading a reward model needs."""
    from transformers import AutoModelForSequenceClassification  # noqa: F401
