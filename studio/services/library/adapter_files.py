"""Is this a LoRA adapter this studio can use, and on which base? Read from its config and its tensor headers alone: no
weights are loaded, no torch is needed."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import InputError
from studio.services.files.unpacking import CONFIG, WEIGHTS

_TENSOR = re.compile(r"^base_model\.model\.([A-Za-z0-9_.]+)\.lora_([AB])\.weight$")
#: The head of a reward model, saved whole beside the LoRA layers: one layer, or the two of an encoder.
_HEAD = re.compile(r"^base_model\.model\.(?:score|classifier)(\.[a-z_]+)?\.(weight|bias)$")
_HEADS = ("classifier", "score")
_TASKS = ("CAUSAL_LM", "SEQ_2_SEQ_LM", "SEQ_CLS")
_MODULE = re.compile(r"^[A-Za-z0-9_.]{1,200}$")
#: Config keys that do not change what a trained LoRA adapter computes; they are dropped. Some name Python modules or files
#: that PEFT would import or read (``auto_mapping``, ``megatron_core``, ``corda_config``), so they never stay.
_DROPPED = frozenset(
    {
        "auto_mapping",
        "peft_version",
        "inference_mode",
        "megatron_config",
        "megatron_core",
        "loftq_config",
        "eva_config",
        "corda_config",
        "lora_ga_config",
        "qalora_group_size",
        "runtime_config",
        "ensure_weight_tying",
        "target_modules",
    }
)
#: Initialisations that leave the base's weights alone, so that the adapter fits the base as published.
_HARMLESS_INIT = (None, True, False, "gaussian", "eva", "orthogonal")
#: Keys that narrow down ``target_modules``, which then becomes the list of layers the file really holds.
_NARROWING = ("exclude_modules", "layers_to_transform", "layers_pattern")
_LARGEST_NUMBER = 1e15


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter says of itself, checked.

    Attributes:
        base: its ``base_model_name_or_path``, as found; empty where it has none.
        reward: whether it is a reward model: LoRA on a classifier of one output, with its head.
        modules: the linear layers it changes, each with its (inputs, outputs).
        config: a clean ``adapter_config.json`` without anything PEFT could import, read or run as a pattern.
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


def read_json(path: Path) -> Any:
    """The JSON of a file from outside; numbers beyond any sense and absurdly deep nesting are refused, so that they break
    no formatting later.

    Raises:
        InputError: it is not such JSON.
    """
    return sane_json(path.read_bytes(), path.name)


def sane_json(text: bytes, where: str) -> Any:
    """As :func:`read_json`, from bytes; ``where`` names them in messages."""
    try:
        value = json.loads(text)
        _check_numbers(value, where)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {str(error)[:200]}.") from None
    return value


def check_adapter(folder: Path) -> AdapterFacts:
    """Check ``adapter_config.json`` and the tensor table of ``adapter_model.safetensors``.

    Raises:
        InputError: it is not a plain LoRA adapter of a language model (causal or encoder-decoder) or a reward model; the
            message says what stands in the way.
    """
    raw = read_json(folder / CONFIG)
    if not isinstance(raw, dict):
        raise InputError(f"{CONFIG} is not a JSON object.")
    shapes = tensor_shapes(folder / WEIGHTS)
    reward = raw.get("task_type") == "SEQ_CLS"
    if reward:
        shapes = _without_head(shapes)
    modules, ranks = _modules(shapes)
    config = _clean(raw)
    for module, rank in ranks.items():
        configured = next(
            (r for key, r in config["rank_pattern"].items() if f".{module}".endswith(f".{key}")), config["r"]
        )
        if rank != configured:
            raise InputError(
                f"{CONFIG} says rank {configured:g}, but {module} has rank {rank}; the two files do not belong together."
            )
    config["target_modules"] = _targets(raw, modules)
    return AdapterFacts(
        base=_text(raw, "base_model_name_or_path"),
        revision=_text(raw, "revision"),
        rank=config["r"],
        alpha=config["lora_alpha"],
        dropout=config["lora_dropout"],
        targets=tuple(sorted({name.rsplit(".", 1)[-1] for name in modules})),
        modules=modules,
        config=config,
        reward=reward,
    )


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file, from its header; its offsets and length are checked by the library.

    Raises:
        InputError: it is no sound safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path.name} is not a sound safetensors file ({str(error)[:200]}).") from None


def check_fits(modules: dict[str, tuple[int, int]], base_folder: Path, base_name: str) -> None:
    """Compare the layers an adapter changes with the base's own weights.

    Names of some architectures differ between file and model, so an unknown name alone is no fault; a wrong shape is, and
    so is not one common name. Without safetensors weights in the folder nothing can be said.

    Raises:
        InputError: the adapter was made for another model.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(base_folder.glob("*.safetensors")):
        shapes |= tensor_shapes(file)
    if not shapes:
        return
    known = 0
    for module, (inputs, outputs) in modules.items():
        shape = shapes.get(f"{module}.weight")
        if shape is None:
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


def _modules(shapes: dict[str, tuple[int, ...]]) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Each changed layer's (inputs, outputs), and its rank."""
    halves: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = _TENSOR.match(name)
        if match is None or len(shape) != 2:
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


def _clean(raw: dict[str, Any]) -> dict[str, Any]:
    if raw.get("peft_type") != "LORA":
        raise InputError(
            f"{CONFIG} says peft_type {str(raw.get('peft_type'))[:40]!r}; only LORA adapters can be used here."
        )
    task = raw.get("task_type") or "CAUSAL_LM"
    reward = task == "SEQ_CLS"
    if task not in _TASKS:
        raise InputError(
            f"{CONFIG} says task_type {str(task)[:40]!r}; only CAUSAL_LM, SEQ_2_SEQ_LM (encoder-decoders) and SEQ_CLS (reward "
            "models) can be used here."
        )
    if raw.get("bias", "none") != "none":
        raise InputError(
            f"{CONFIG} says bias {str(raw['bias'])[:40]!r}; only adapters without bias terms can be used here."
        )
    if raw.get("init_lora_weights", True) not in _HARMLESS_INIT:
        raise InputError(
            f"{CONFIG} says init_lora_weights {str(raw['init_lora_weights'])[:40]!r}, which changes the base model too; convert "
            "it to a plain LoRA adapter first (PEFT: path_initial_model_for_weight_conversion)."
        )
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": None,
        "revision": None,
        "inference_mode": True,
        "r": int(_number(raw, "r", 8, 1, 4096)),
        "lora_alpha": _number(raw, "lora_alpha", 8, 0, 1e6),
        "lora_dropout": float(_number(raw, "lora_dropout", 0.0, 0, 1)),
        "bias": "none",
        "fan_in_fan_out": bool(raw.get("fan_in_fan_out")),
        "use_rslora": bool(raw.get("use_rslora")),
        "rank_pattern": _pattern(raw, "rank_pattern"),
        "alpha_pattern": _pattern(raw, "alpha_pattern"),
        "init_lora_weights": True,
        "modules_to_save": None,
    }
    settled = set(config) | _DROPPED | set(_NARROWING)
    for key, value in raw.items():
        if key not in settled and value:
            raise InputError(f"{CONFIG} uses {str(key)[:60]!r}, which is more than plain LoRA and cannot be used here.")
    saved = raw.get("modules_to_save")
    if reward and isinstance(saved, list) and all(name in _HEADS for name in saved):
        config["modules_to_save"] = saved
    elif saved:
        raise InputError(f"{CONFIG} uses 'modules_to_save', which is more than plain LoRA and cannot be used here.")
    return config


def _targets(raw: dict[str, Any], modules: dict[str, tuple[int, int]]) -> list[str]:
    """The file's own list where it is one of plain names and nothing narrows it down; else every layer by its full name
    (never a pattern from outside: PEFT would run it as a regular expression)."""
    names: Any = raw.get("target_modules")
    narrowed = any(raw.get(key) for key in _NARROWING)
    simple = isinstance(names, list) and all(isinstance(name, str) and _MODULE.match(name) for name in names)
    if simple and not narrowed and all(any(f".{m}".endswith(f".{name}") for name in names) for m in modules):
        return sorted(names)
    return sorted(modules)


def _pattern(raw: dict[str, Any], key: str) -> dict[str, float]:
    value = raw.get(key) or {}
    if not isinstance(value, dict) or not all(
        _MODULE.match(str(name)) and isinstance(number, int | float) and 0 < number <= 1e6
        for name, number in value.items()
    ):
        raise InputError(f"{CONFIG}: {key} must map layer names to positive numbers (no patterns).")
    return value


def _number(raw: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = raw.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{CONFIG}: {key} is {str(value)[:40]}; it must be a number between {low:g} and {high:g}.")
    return value


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key) or ""
    if not isinstance(value, str) or len(value) > 1000:
        raise InputError(f"{CONFIG}: {key} is not a name.")
    return value


def _check_numbers(value: Any, where: str, depth: int = 0) -> None:
    if depth > 20:
        raise InputError(f"{where} is nested too deeply.")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_numbers(item, where, depth + 1)
    elif isinstance(value, int | float) and abs(value) > _LARGEST_NUMBER and value not in (math.inf, -math.inf):
        raise InputError(f"{where} holds a number beyond any sense.")
