"""A GGUF file as a model folder: bf16 safetensors, tokenizer, generation settings.

Run as a process of its own (``python -m studio.ml.models.gguf FILE FOLDER``): reading a vocabulary holds Python for up to a
minute, and the memory goes back when it ends. It writes ``fraction text`` lines to stdout and one sentence to stderr where it
fails (exit code 2).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.domain.data import Message
from studio.errors import ModelLoadError, StudioError
from studio.i18n import _
from studio.ml.models.loading import load_model, load_tokenizer, prepare_torch, release_memory
from studio.ml.models.prompts import chat_ids, end_tokens

Progress = Callable[[float, str], None]

#: What is asked of the weights before and after, and how many tokens of the greedy answers are compared.
_QUESTION, _TOKENS = (Message("user", "What is the capital of France?"),), 16


def convert(file: Path, folder: Path, progress: Progress | None = None) -> None:
    """Write the model in a GGUF file to the new folder ``folder``.

    Quantised weights are unpacked and rounded to bfloat16 once. The same file gives the same bytes, whatever the version of
    transformers, so that the folder's fingerprint names the file.

    Raises:
        ModelLoadError: no GGUF file, an architecture transformers does not read from GGUF, no tokenizer that can chat, no
            room on the disk, or the written model answers differently from the file.
    """
    say = progress or (lambda fraction, text: None)
    check_gguf(file)
    prepare_torch()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    source: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    try:
        say(0.05, _("reading the vocabulary"))
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
        say(0.4, _("unpacking the weights"))
        unpacked = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **source
        ).eval()
    except Exception as error:  # what reads foreign bytes raises anything
        raise ModelLoadError(f"{file.name} cannot be used as a base: {_first_line(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    expected = _greedy(unpacked, tokenizer)
    say(0.7, _("writing the weights"))
    # A model loaded from GGUF refuses save_pretrained, so its weights go into a plain one.
    settings = {k: v for k, v in unpacked.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    plain = AutoModelForCausalLM.from_config(type(unpacked.config).from_dict(settings), dtype=torch.bfloat16)
    plain.load_state_dict({name: weights.to(torch.bfloat16) for name, weights in unpacked.state_dict().items()})
    plain.tie_weights()
    plain.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(end_tokens(unpacked, tokenizer)) or None,
        pad_token_id=tokenizer.pad_token_id,
    )
    del unpacked
    try:
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        _without_version(folder / "config.json")
    except Exception as error:  # safetensors has its own kinds
        if "No space left" in str(error):
            raise ModelLoadError("The disk is full; make room and try again.") from error
        raise
    del plain
    release_memory()
    say(0.85, _("comparing an answer"))
    written = load_model(folder, device="cpu", dtype="bfloat16")
    if _greedy(written, load_tokenizer(folder)) != expected:
        raise ModelLoadError(f"{file.name} answers differently once written as safetensors, so it was not kept.")
    say(1.0, _("converted"))


def check_gguf(file: Path) -> None:
    """Refuse what is no GGUF file, by its first bytes.

    Raises:
        ModelLoadError: it cannot be read or is something else.
    """
    try:
        with open(file, "rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise ModelLoadError(f"{file} cannot be read: {error.strerror or error}.") from error
    if magic != b"GGUF":
        raise ModelLoadError(f"{file.name} is not a GGUF file.")


def _greedy(model: Any, tokenizer: Any) -> list[int]:
    import torch

    ids = torch.tensor([chat_ids(tokenizer, _QUESTION)])
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=_TOKENS, do_sample=False,
            eos_token_id=None, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    written: list[int] = out[0, ids.shape[1] :].tolist()
    return written


def _without_version(config: Path) -> None:
    values = json.loads(config.read_text(encoding="utf-8"))
    values.pop("transformers_version", None)
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def main(file: str, folder: str) -> int:
    """Convert and tell; the exit code. Gives way to whatever else wants the cores."""
    if hasattr(os, "nice"):
        os.nice(10)
    try:
        convert(Path(file), Path(folder), lambda fraction, text: print(f"{fraction:.2f} {text}", flush=True))
    except StudioError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
