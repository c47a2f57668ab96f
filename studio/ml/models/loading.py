"""Loading a base model and its tokenizer from a folder, the same way for chat and for training; and writing a chat down as text.

Reads safetensors only: no pickle is ever opened, and a model's own code runs only where the operator allowed it.
"""

from __future__ import annotations

import gc
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.config import ZEROGPU
from studio.domain.data import Message
from studio.errors import InputError, ModelLoadError
from studio.ml.models.frames import QUESTION_ANSWER
from studio.ml.models.seq2seq import is_encoder_decoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


#: Called while a model loads: a fraction 0..1 and what is being done, fit to be shown.
Progress = Callable[[float, str], None]

#: Below this many weights one thread is as fast as two, and far faster where other programs want the cores.
SMALL_MODEL = 30_000_000
_importing = threading.Lock()
_BLOB = re.compile(r"^[0-9a-f]{64}$")


def prepare_torch(threads: int = 0) -> None:
    """Import torch with waiting threads that sleep, and transformers whole; set torch's thread count for the calling thread (0 leaves it).

    Spinning OpenMP threads make chat beside a running training 10-30 times slower; the policy is read once, when torch
    is first imported. transformers puts another module in its place as it is imported: a thread that imports from it meanwhile is left
    with the first one, which is empty, so others wait here.
    """
    with _importing:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        import transformers  # noqa: F401

    if threads > 0:
        torch.set_num_threads(threads)


def resolve_device(setting: str = "auto") -> str:
    """``cuda``, ``mps`` or ``cpu`` for a setting of ``auto`` or one of them; ``cpu`` for ``zerogpu``, whose GPU is in calls only.

    Raises:
        ModelLoadError: the device asked for is not here.
    """
    import torch

    if setting == ZEROGPU:
        return "cpu"
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if setting == "auto":
        return next(name for name, present in there.items() if present)
    if not there.get(setting, False):
        raise ModelLoadError(f"The device {setting!r} is not on this machine; set STUDIO_DEVICE to auto or cpu.")
    return setting


def choose_dtype(device: str) -> str:
    """The arithmetic that is fastest on a device without hurting answers: ``bfloat16``, ``float16`` or ``float32``.

    On a CPU bfloat16 pays only where it has instructions for it (about twice float32 there, slower elsewhere).
    """
    import torch

    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    if device == "mps":
        return "bfloat16" if torch.backends.mps.is_macos_or_newer(14, 0) else "float16"
    able = torch.cpu.get_capabilities()
    return "bfloat16" if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")) else "float32"


def four_bit_reason(device: str, training: bool = False) -> str:
    """Why 4-bit loading is not offered on ``device``; empty where it is."""
    if device == "mps":
        return "4-bit needs CUDA or a CPU; bitsandbytes has no Metal kernels."
    if training and device != "cuda":
        return "Training in 4-bit needs CUDA: on CPUs bitsandbytes gives wrong gradients."
    return ""


def load_tokenizer(base_path: str | Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a base, padding on the left (answers of a batch then start together), pad token set.

    Raises:
        ModelLoadError: it is not there or cannot be read.
    """
    prepare_torch()
    from transformers import AutoTokenizer

    tokenizer = _load(AutoTokenizer, base_path, {"trust_remote_code": trust_remote_code})
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if tokenizer.pad_token is None:
            raise ModelLoadError(f"The tokenizer of {base_path} has neither a pad nor an end token, so it cannot chat.")
    return tokenizer


def load_model(
    base_path: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    load_in_4bit: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> PreTrainedModel:
    """A causal language model, or an encoder-decoder where the base is one, in evaluation mode on one device.

    Args:
        base_path: a model folder.
        device: as for :func:`resolve_device`.
        dtype: ``auto`` (see :func:`choose_dtype`), ``float32``, ``bfloat16`` or ``float16``.
        load_in_4bit: NF4 weights with double quantisation, arithmetic in bfloat16 (CUDA; generation only on a CPU).

    Raises:
        ModelLoadError: not there, no language model, no safetensors, needs code of its own, or too large for memory.
    """
    prepare_torch()
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    say = progress or (lambda fraction, text: None)
    place = resolve_device(device)
    name = choose_dtype(place) if dtype == "auto" else dtype
    say(0.1, f"Reading the weights ({'4-bit' if load_in_4bit else name} on {place})")
    options = {"trust_remote_code": trust_remote_code}
    loader = AutoModelForSeq2SeqLM if is_encoder_decoder(base_path) else AutoModelForCausalLM
    model = load_weights(loader, base_path, place, name, load_in_4bit, options)
    _keep_output_layer_whole(model)
    say(1.0, "Ready")
    return model.eval()


def _keep_output_layer_whole(model: PreTrainedModel) -> None:
    """Have the output layer read contiguous states. Of a prompt ``generate`` needs the last position alone, a slice ``[rows, 1,
    width]`` of all states; torch multiplies such a slice row by row and copies the whole weight for each (57 MB a row for
    SmolLM2, a fifth of the time of 40 short answers)."""
    layer = model.get_output_embeddings()
    if layer is not None:
        layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(), *inputs[1:]))


def load_weights(
    loader: Any,
    base_path: str | Path,
    place: str,
    name: str,
    load_in_4bit: bool,
    options: dict[str, Any],
    keep: Sequence[str] | None = None,
) -> Any:
    """What ``loader.from_pretrained`` makes of a base's safetensors, on ``place`` in the arithmetic called ``name``.

    ``keep`` names the layers that 4-bit leaves alone (None: the output layer).

    Raises:
        ModelLoadError: as :func:`load_model`.
    """
    import torch
    from transformers import BitsAndBytesConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    settings: dict[str, Any] = {
        "dtype": getattr(torch, name),
        "use_safetensors": True,
        "device_map": {"": 0 if place == "cuda" else place},
        **options,
    }
    if load_in_4bit:
        reason = four_bit_reason(place)
        if reason:
            raise ModelLoadError(reason)
        compute = torch.float16 if name == "float16" else torch.bfloat16
        settings["dtype"] = compute
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
            llm_int8_skip_modules=None if keep is None else list(keep),
        )
    try:
        return _load(loader, base_path, settings)
    except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
        release_memory()
        if isinstance(error, RuntimeError) and not _no_memory(error):
            raise ModelLoadError(f"{base_path} could not be loaded: {_first_line(error)}") from error
        kind = "4-bit" if load_in_4bit else name
        raise ModelLoadError(
            f"{base_path} does not fit into the memory of {place} in {kind}; choose a smaller base or 4-bit."
        ) from error


def fingerprint(folder: str | Path) -> str:
    """sha256 over a model folder's ``config.json`` and safetensors files: names and contents, in the order of names.

    In the hub's cache a file's contents are known by its blob's name already, so nothing is read twice.

    Raises:
        ModelLoadError: no config or no safetensors there.
    """
    folder = Path(folder)
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    if len(files) < 2 or not files[0].is_file():
        raise ModelLoadError(f"{folder} is not a model folder: it needs config.json and *.safetensors.")
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.name} {_content_hash(path)}\n".encode())
    return total.hexdigest()


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    add_generation_prompt: bool = True,
    frame: str = QUESTION_ANSWER,
) -> str:
    """A conversation as the text the model reads, special tokens (one BOS at most) written out: tokenize it with
    ``add_special_tokens=False``.

    An empty system message is left out; where a template knows no system role its text opens the first question. A
    tokenizer without a template gets ``frame`` (see ``frames.py``). Thinking modes are off: answers are compared, not
    thoughts.

    Raises:
        InputError: no message, or the tokenizer's template refuses the conversation.
    """
    turns = [{"role": m.role, "content": m.content} for m in messages if m.role != "system" or m.content.strip()]
    if not turns:
        raise InputError("The conversation is empty; write something first.")
    from jinja2 import TemplateError

    def render(chat: list[dict[str, str]]) -> str:
        return str(
            tokenizer.apply_chat_template(
                chat,
                chat_template=None if tokenizer.chat_template else frame,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=False,
            )
        )

    try:
        text = render(turns)
        system = turns[0]["content"] if turns[0]["role"] == "system" else ""
        if not system or system.strip() in text:
            return text
    except TemplateError as error:
        if turns[0]["role"] != "system" or len(turns) < 2:
            raise InputError(f"This model's chat template refuses the conversation: {_first_line(error)}") from error
    try:
        return render(_without_system(turns))
    except TemplateError as error:
        raise InputError(f"This model's chat template refuses the conversation: {_first_line(error)}") from error


def release_memory() -> None:
    """Give freed weights back to the device and the system."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        import ctypes

        # glibc keeps freed blocks below its mmap threshold; other C libraries have no such call
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _without_system(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    system, first, *rest = turns
    return [{"role": first["role"], "content": f"{system['content'].strip()}\n\n{first['content']}"}, *rest]


def _load(loader: Any, base_path: str | Path, options: dict[str, Any]) -> Any:
    """``from_pretrained`` on a local folder, with what goes wrong told in one sentence."""
    folder = Path(base_path)
    if not folder.is_dir():
        raise ModelLoadError(f"There is no model folder {base_path}.")
    if (folder / "adapter_config.json").exists():
        raise ModelLoadError(f"{base_path} is an adapter, not a base model; import it in the Library.")
    try:
        return loader.from_pretrained(str(folder), local_files_only=True, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        text = _first_line(error)
        if "trust_remote_code" in str(error):
            text = "it wants to run code of its own, which only the operator can allow (STUDIO_TRUST_REMOTE_CODE=true)."
        elif "tokenizer" in text and "backend" in text:
            text = "it has no tokenizer that can be read (tokenizer.json)."
        raise ModelLoadError(f"{base_path} could not be loaded: {text}") from error


def _content_hash(path: Path) -> str:
    if path.is_symlink():
        name = path.resolve().name
        if _BLOB.match(name):
            return name
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _no_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "not enough memory" in text or "alloc" in text


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def context_length(model: Any, tokenizer: Any) -> int:
    """Tokens the base has positions for. RoBERTa and its kin count theirs from behind the padding's index, so their 514
    positions hold 512 tokens."""
    limit = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1_000_000)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            limit = min(limit, module.num_embeddings - module.padding_idx - 1)
    return min(limit, int(tokenizer.model_max_length))
