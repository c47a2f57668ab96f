"""Is this a LoRA adapter this studio can use, and on which base? Read from its config and its tensor headers; no torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.errors import InputError
from studio.services.files.choosing import CONFIG, WEIGHTS
from studio.services.files.records import read_json
from studio.services.library.adapter_config import (
    MERGE_FIRST,
    checked_config,
    exact_patterns,
    targets,
    text,
    values_by_layer,
)

_TENSOR = re.compile(r"^base_model\.model\.([A-Za-z0-9_.]+)\.lora_([AB])\.weight$")
#: The head of a reward model, saved whole beside the LoRA layers: one layer, or the two of an encoder.
_HEAD = re.compile(r"^base_model\.model\.(?:score|classifier)(\.[a-z_]+)?\.(weight|bias)$")
#: Embeddings and heads that PEFT saves whole beside the LoRA layers: trained ones, or copies of the base's.
_WHOLE = re.compile(
    r"^base_model\.model\.((?:[A-Za-z0-9_]+\.)*(?:embed_tokens|lm_head|wte|embed_in|embed_out|shared))"
    r"(?:\.base_layer)?\.weight$"
)
#: What tensors of other kinds tell of an adapter.
_KINDS = (
    ("lora_magnitude_vector", "DoRA"),
    ("lora_embedding_", "LoRA on its embeddings"),
    ("trainable_tokens_", "trained embeddings of single tokens"),
    ("modules_to_save", "layers that were trained whole (modules_to_save)"),
    ("prompt_embeddings", "prompt tuning"),
    (".bias", "trained bias terms"),
)
_NUMBERS = ("F64", "F32", "F16", "BF16")
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter says of itself, checked.

    Attributes:
        base: its ``base_model_name_or_path``, as it came; empty where it has none.
        reward: whether it is a reward model: LoRA on a classifier of one output, with its head.
        modules: the linear layers it changes, each with its (inputs, outputs).
        config: a clean ``adapter_config.json`` without anything PEFT could import, read or run as a pattern.
        whole: embeddings that were saved whole beside the LoRA layers, the tensor by the name of the base's weight. They are
            sound only where they are copies of the base's.
    """

    base: str
    revision: str
    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    modules: dict[str, tuple[int, int]]
    config: dict[str, Any]
    reward: bool = False
    whole: dict[str, str] = field(default_factory=dict)


def check_adapter(folder: Path) -> AdapterFacts:
    """Check ``adapter_config.json`` and the tensor table of ``adapter_model.safetensors``.

    Raises:
        InputError: it is not a plain LoRA adapter of a language model (causal or encoder-decoder) or a reward model; the
            message says what stands in the way.
    """
    for name in (CONFIG, WEIGHTS):
        _check_fetched(folder / name)
    raw = read_json(folder / CONFIG, CONFIG)
    if not isinstance(raw, dict):
        raise InputError(f"{CONFIG} is not a JSON object.")
    config = checked_config(raw)
    shapes = tensor_shapes(folder / WEIGHTS, _NUMBERS)
    reward = config["task_type"] == "SEQ_CLS"
    if reward:
        shapes = _without_head(shapes)
    whole = {f"{match[1]}.weight": name for name in shapes if (match := _WHOLE.match(name))}
    modules, ranks = _modules({name: shape for name, shape in shapes.items() if name not in whole.values()})
    expected = values_by_layer("rank_pattern", config["rank_pattern"], config["r"], modules)
    for module, rank in ranks.items():
        if rank != expected[module]:
            raise InputError(
                f"{CONFIG} says rank {expected[module]:g}, but {module} has rank {rank}; the two files do not belong together."
            )
    alphas = values_by_layer("alpha_pattern", config["alpha_pattern"], config["lora_alpha"], modules)
    config["rank_pattern"] = exact_patterns(ranks, config["r"])
    config["alpha_pattern"] = exact_patterns(alphas, config["lora_alpha"])
    config["target_modules"] = targets(raw, modules)
    return AdapterFacts(
        base=text(raw, "base_model_name_or_path"),
        revision=text(raw, "revision"),
        rank=config["r"],
        alpha=config["lora_alpha"],
        dropout=config["lora_dropout"],
        targets=tuple(sorted({name.rsplit(".", 1)[-1] for name in modules})),
        modules=modules,
        config=config,
        reward=reward,
        whole=whole,
    )


def tensor_shapes(path: Path, numbers: tuple[str, ...] = ()) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file, from its header; its offsets and length are checked by the library.
    ``numbers``: the only number formats that are taken, where given.

    Raises:
        InputError: it is no sound safetensors file, or holds another number format.
    """
    from safetensors import SafetensorError, safe_open

    shapes = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                part = file.get_slice(name)
                if numbers and part.get_dtype() not in numbers:
                    raise InputError(
                        f"{path.name} holds numbers of the format {part.get_dtype()}; only {', '.join(numbers)} can be used here."
                    )
                shapes[name] = tuple(part.get_shape())
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path.name} is not a sound safetensors file ({str(error)[:200]}).") from None
    return shapes


def check_fits(modules: dict[str, tuple[int, int]], base_folder: Path, base_name: str) -> None:
    """Compare the layers an adapter changes with the base's own weights.

    Names of some architectures differ between file and model, so an unknown name alone is no fault; a wrong shape is, and
    so is a layer beyond the base's last, and not one common name. Without safetensors weights in the folder nothing can be
    said.

    Raises:
        InputError: the adapter was made for another model.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(base_folder.glob("*.safetensors")):
        shapes |= tensor_shapes(file)
    if not shapes:
        return
    numbered = {_without_numbers(name) for name in shapes}
    known = 0
    for module, (inputs, outputs) in modules.items():
        shape = shapes.get(f"{module}.weight")
        if shape is None:
            if _without_numbers(f"{module}.weight") in numbered:
                raise InputError(
                    f"This adapter does not fit {base_name}: it changes {module}, and that model has fewer layers. It was made "
                    "for another base model."
                )
            continue
        known += 1
        if len(shape) != 2 or shape not in ((outputs, inputs), (inputs, outputs)):
            raise InputError(
                f"This adapter does not fit {base_name}: it expects {module} to be {outputs} × {inputs}, there it is "
                f"{' × '.join(map(str, shape))}. It was made for another base model."
            )
    if not known:
        raise InputError(
            f"This adapter does not fit {base_name}: not one of its {len(modules)} layers (such as "
            f"{next(iter(modules))}) is in that model. It was made for another base model."
        )


def _without_numbers(name: str) -> str:
    return re.sub(r"\.\d+\.", ".#.", name)


def _check_fetched(path: Path) -> None:
    """Refuse what people get instead of a file: the pointer that stands for it in Git, or the page it is offered on."""
    with open(path, "rb") as file:
        begin = file.read(200)
    if begin.startswith(_LFS):
        raise InputError(
            f"{path.name} is a Git LFS pointer ({path.stat().st_size} bytes that stand for the file), not the file itself: fetch "
            "it with git lfs pull, or download it from the Hub's page."
        )
    if begin.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{path.name} is a web page, not the file: use the page's download link.")


def _modules(shapes: dict[str, tuple[int, ...]]) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Each changed layer's (inputs, outputs), and its rank."""
    halves: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = _TENSOR.match(name)
        if match is None or len(shape) != 2:
            kind = next((kind for mark, kind in _KINDS if mark in name), None)
            if kind:
                raise InputError(f"The adapter has {kind} ({WEIGHTS} holds {name[:120]!r}); {MERGE_FIRST}.")
            raise InputError(
                f"{WEIGHTS} holds {name[:120]!r}; only LoRA on linear layers (tensors named base_model.model.….lora_A.weight "
                "and lora_B.weight) can be used here."
            )
        halves.setdefault(match[1], {})[match[2]] = shape
    if not halves:
        raise InputError(f"{WEIGHTS} holds no LoRA weights at all.")
    modules, ranks = {}, {}
    for module, pair in halves.items():
        if set(pair) != {"A", "B"} or pair["A"][0] != pair["B"][1] or 0 in pair["A"] + pair["B"]:
            raise InputError(f"{WEIGHTS}: the two halves of {module} do not fit each other.")
        modules[module] = (pair["A"][1], pair["B"][0])
        ranks[module] = pair["A"][0]
    return modules, ranks


def _without_head(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The tensors of a reward model less those of its head, which must end in one output."""
    head = {name: shape for name, shape in shapes.items() if _HEAD.match(name)}
    if not any(len(shape) == 2 and shape[0] == 1 for shape in head.values()):
        raise InputError(f"{WEIGHTS} holds no head with one output (score or classifier), so it gives no reward.")
    return {name: shape for name, shape in shapes.items() if name not in head}
