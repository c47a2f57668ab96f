"""What an ``adapter_config.json`` from outside may say, and what of it is kept: nothing that PEFT could import, read or run as
a pattern. What is more than plain LoRA is refused by its name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import regex

from studio.errors import InputError
from studio.services.files.choosing import CONFIG

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
#: What people call the kinds of adapters that PEFT's config names by a key.
_KINDS = {
    "use_dora": "DoRA (use_dora)",
    "trainable_token_indices": "trained embeddings of single tokens (trainable_token_indices)",
    "lora_bias": "bias terms in its LoRA layers (lora_bias)",
    "target_parameters": "LoRA on parameters instead of layers (target_parameters)",
    "layer_replication": "replicated layers (layer_replication)",
    "alora_invocation_tokens": "activated LoRA (alora_invocation_tokens)",
    "use_qalora": "QALoRA (use_qalora)",
    "use_bdlora": "block-diagonal LoRA (use_bdlora)",
    "arrow_config": "Arrow routing (arrow_config)",
    "kasa_config": "KaSA (kasa_config)",
    "velora_config": "VeLoRA (velora_config)",
    "monteclora_config": "MonteCLoRA (monteclora_config)",
}
#: The way out for an adapter that is more than plain LoRA.
MERGE_FIRST = (
    "only plain LoRA can be used here. Merge it into its base with PEFT (merge_and_unload, save_pretrained) and put that "
    "folder among the base models"
)
_LONGEST_PATTERN = 500
#: Seconds that all patterns of an adapter may take together; PEFT itself knows no bound.
_PATTERN_S = 1.0


def checked_config(raw: dict[str, Any]) -> dict[str, Any]:
    """A clean config of plain LoRA; its patterns are as they came, for :func:`values_by_layer`.

    Raises:
        InputError: it is something else, which the message names.
    """
    if raw.get("peft_type") != "LORA":
        raise InputError(
            f"{CONFIG} says peft_type {str(raw.get('peft_type'))[:40]!r}; only LORA adapters can be used here."
        )
    task = raw.get("task_type") or "CAUSAL_LM"
    if task not in _TASKS:
        raise InputError(
            f"{CONFIG} says task_type {str(task)[:40]!r}; only CAUSAL_LM, SEQ_2_SEQ_LM (encoder-decoders) and SEQ_CLS (reward "
            "models) can be used here."
        )
    if raw.get("bias", "none") not in ("none", None):
        raise InputError(f"The adapter has trained bias terms (bias: {str(raw['bias'])[:40]}); {MERGE_FIRST}.")
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
        "modules_to_save": _saved(raw, task == "SEQ_CLS"),
    }
    settled = set(config) | _DROPPED | set(_NARROWING)
    for key, value in raw.items():
        # an empty list of tokens makes PEFT take the path of activated LoRA all the same
        if key not in settled and (value or (key == "alora_invocation_tokens" and value is not None)):
            kind = _KINDS.get(key, f"{str(key)[:60]!r}, a setting this studio does not know")
            raise InputError(f"The adapter uses {kind}; {MERGE_FIRST}.")
    return config


def values_by_layer(key: str, patterns: Mapping[str, float], default: float, layers: Iterable[str]) -> dict[str, float]:
    """What ``rank_pattern`` or ``alpha_pattern`` says of each layer: the value of the first pattern that matches the end of its
    name (PEFT's ``get_pattern_key``), else ``default``.

    Raises:
        InputError: a pattern is no regular expression, or they take too long.
    """
    compiled = []
    for pattern, value in patterns.items():
        try:
            compiled.append((regex.compile(rf"(.*\.)?({pattern})$"), value))
        except (regex.error, RecursionError, OverflowError) as error:
            raise InputError(
                f"{CONFIG}: {key} holds {pattern[:60]!r}, which is no regular expression ({error})."
            ) from None
    end = time.monotonic() + _PATTERN_S
    values = {}
    for layer in layers:
        values[layer] = default
        for expression, value in compiled:
            try:
                left = max(end - time.monotonic(), 1e-4)
                matches = expression.match(layer, timeout=left, concurrent=True)
            except TimeoutError:
                raise InputError(
                    f"{CONFIG}: the patterns in {key} take more than {_PATTERN_S:g} second; name the layers instead."
                ) from None
            if matches:
                values[layer] = value
                break
    return values


def exact_patterns(values: Mapping[str, float], default: float) -> dict[str, float]:
    """The values that are not the default, by patterns that match one layer each."""
    return {f"^{re.escape(layer)}": value for layer, value in values.items() if value != default}


def targets(raw: dict[str, Any], modules: Iterable[str]) -> list[str]:
    """The file's own list where it is one of plain names and nothing narrows it down; else every layer by its full name
    (never a pattern from outside: PEFT would run it as a regular expression)."""
    names: Any = raw.get("target_modules")
    narrowed = any(raw.get(key) not in (None, [], "") for key in _NARROWING)
    simple = isinstance(names, list) and all(isinstance(name, str) and _MODULE.match(name) for name in names)
    if simple and not narrowed and all(any(f".{m}".endswith(f".{name}") for name in names) for m in modules):
        return sorted(names)
    return sorted(modules)


def text(raw: dict[str, Any], key: str) -> str:
    """A name in the config; empty where there is none.

    Raises:
        InputError: it is something else.
    """
    value = raw.get(key) or ""
    if not isinstance(value, str) or len(value) > 1000:
        raise InputError(f"{CONFIG}: {key} is not a name.")
    return value


def _saved(raw: dict[str, Any], reward: bool) -> list[str] | None:
    """``modules_to_save``: the head of a reward model, or nothing."""
    saved = raw.get("modules_to_save")
    if not saved:
        return None
    names = [str(name)[:60] for name in saved][:12] if isinstance(saved, list) else [str(saved)[:60]]
    if reward and isinstance(saved, list) and all(name in _HEADS for name in saved):
        return names
    raise InputError(
        f"The adapter has layers that were trained whole (modules_to_save: {', '.join(names)}); {MERGE_FIRST}."
    )


def _pattern(raw: dict[str, Any], key: str) -> dict[str, float]:
    value = raw.get(key) or {}
    if not isinstance(value, dict) or not all(
        len(name) <= _LONGEST_PATTERN
        and isinstance(number, int | float)
        and not isinstance(number, bool)
        and 0 < number <= 1e6
        for name, number in value.items()
    ):
        raise InputError(
            f"{CONFIG}: {key} must map layer names or patterns (up to {_LONGEST_PATTERN} characters) to positive numbers."
        )
    return value


def _number(raw: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = raw.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{CONFIG}: {key} is {str(value)[:40]}; it must be a number between {low:g} and {high:g}.")
    return value
