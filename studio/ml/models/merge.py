"""Fold a LoRA adapter into its base: a plain transformers folder that needs no PEFT."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.errors import ConflictError, ModelLoadError

Progress = Callable[[float, str], None]


def merge_adapter(
    base_path: Path,
    adapter: Path,
    out: Path,
    *,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write base + adapter to the folder ``out`` (replaced as a whole at the end) in the base's own number format.

    The product B·A is added in float32 and rounded once. Runs on the CPU, so that it fits beside a training or a chat.

    Raises:
        ConflictError: the base is stored in quantised form; such weights cannot take an adapter in.
        ModelLoadError: base or adapter cannot be loaded, or do not fit each other, or the sum is not finite.
        OSError: the disk is full; ``out`` is as before.
    """
    from studio.ml.models.frames import QUESTION_ANSWER, framed
    from studio.ml.models.loading import load_model, load_tokenizer, prepare_torch, release_memory

    prepare_torch()
    from peft import PeftModel
    from transformers import AutoConfig

    say = progress or (lambda fraction, text: None)
    config = AutoConfig.from_pretrained(str(base_path), local_files_only=True, trust_remote_code=trust_remote_code)
    if getattr(config, "quantization_config", None) is not None:
        raise ConflictError("The base model is stored quantised (4 or 8 bit); an adapter cannot be merged into that.")
    dtype = str(config.dtype or "float32").removeprefix("torch.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".merging-", dir=out.parent) as name:
        say(0.05, "Reading the base model")
        model = load_model(base_path, device="cpu", dtype=dtype, trust_remote_code=trust_remote_code)
        say(0.4, "Adding the adapter")
        try:
            # The adapter stays in float32 (PEFT's default), so the product is exact before it is added.
            tuned = PeftModel.from_pretrained(model, str(adapter))
            _untie_head(tuned)
            merged = tuned.merge_and_unload(safe_merge=True)
        except (ValueError, RuntimeError, KeyError) as error:
            raise ModelLoadError(
                f"The adapter could not be merged into {base_path.name}: {str(error)[:300]}"
            ) from error
        say(0.7, "Writing the merged model")
        target = Path(name) / out.name
        merged.save_pretrained(target)
        tokenizer = load_tokenizer(base_path, trust_remote_code=trust_remote_code)
        if framed(tokenizer) and not merged.config.is_encoder_decoder:
            tokenizer.chat_template = QUESTION_ANSWER  # so that other programs ask it as it was trained
        tokenizer.save_pretrained(target)
        del model, merged
        release_memory()
        shutil.rmtree(out, ignore_errors=True)
        target.rename(out)
    say(1.0, "Merged")
    return out


def _untie_head(tuned: Any) -> None:
    """Where an adapter changes a head that shares its weights with the embeddings, give the head weights of its own: added into
    the shared ones the adapter would change the embeddings as well."""
    import torch
    from peft.tuners.lora import LoraLayer

    model = tuned.get_base_model()
    head, kind = model.get_output_embeddings(), LoraLayer
    if isinstance(head, kind) and getattr(model.config, "tie_word_embeddings", False):
        base: Any = head.get_base_layer()
        base.weight = torch.nn.Parameter(base.weight.detach().clone())
        model.config.tie_word_embeddings = False
