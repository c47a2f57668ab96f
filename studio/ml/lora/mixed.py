"""LoRA adapters as plain tensors, and a batch in which each row has its own adapter or none.

PEFT's mixed batch gathers rows by index lists behind a hook per layer; here the rows are sorted by adapter, so that each
adapter's rows are one slice, the products of all adapters are two batched calls, and are added in place. The base's own modules are put back as they were after
every request: between requests nothing of an adapter is attached to the model.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from studio.errors import ModelLoadError
from studio.ml.lora.shift import KIND, read_shift, shifted

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight$")
#: Adapters of a request larger than this together are not copied into stacks but multiplied one by one.
STACK_BYTES = 256_000_000
#: Settings of PEFT's that change the arithmetic in a way this module does not do.
_UNSUPPORTED = (
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
)


@dataclass(frozen=True)
class Adapter:
    """One LoRA adapter on the base's device.

    Attributes:
        name: the run id.
        stamp: modification time and size of its weight file (of a blend those of both); another stamp is another adapter.
        parts: module path -> ``(down [in, rank], up [rank, out])``, the scaling already inside ``up``.
        shifts: of a steering vector: module path -> what is added to its output, ``[hidden]``.
    """

    name: str
    stamp: tuple[int, ...]
    parts: dict[str, tuple[torch.Tensor, torch.Tensor]]
    shifts: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Memory its tensors take."""
        return sum(t.numel() * t.element_size() for pair in self.parts.values() for t in pair)


@dataclass(frozen=True)
class RowGroup:
    """Rows ``start`` to ``stop`` (exclusive) of a batch answer through ``adapter``, its update of the weights multiplied by
    ``strength`` (1: as it was trained)."""

    adapter: Adapter
    start: int
    stop: int
    strength: float = 1.0


class _Part(NamedTuple):
    """Batch rows ``start`` to ``stop`` in one module: as many rows for each of the adapters in ``down`` (``[adapters, in,
    rank]``) and ``up`` (``[adapters, rank, out]``)."""

    start: int
    stop: int
    down: torch.Tensor
    up: torch.Tensor


def adapter_stamp(folder: Path) -> tuple[int, int]:
    """Modification time (ns) and size of an adapter's weight file.

    Raises:
        ModelLoadError: there is none.
    """
    try:
        stat = (folder / WEIGHTS).stat()
    except FileNotFoundError:
        raise ModelLoadError(f"{folder.name} has no adapter yet ({WEIGHTS} is missing).") from None
    return stat.st_mtime_ns, stat.st_size


def adapter_tensors(name: str, folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]]:
    """The config of a PEFT LoRA adapter (safetensors only), and its factors ``A`` and ``B`` by module path as they are saved.

    Raises:
        ModelLoadError: missing or broken files, or a kind of adapter that cannot share a batch.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for file in (WEIGHTS, CONFIG):
        if not (folder / file).is_file():  # a pipe of that name would be waited for
            raise ModelLoadError(f"The adapter {name} cannot be read: {file} is missing or no plain file.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise ModelLoadError(f"The adapter {name} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelLoadError(f"The adapter {name} cannot be read: {CONFIG} is not a JSON object.")
    _check_kind(name, config)
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in weights.items():
        match = _KEY.match(key)
        if match is None:
            raise ModelLoadError(f"The adapter {name} holds {key!r}, which is not a LoRA weight of a linear layer.")
        tensors.setdefault(match["module"], {})[match["part"]] = tensor
    return config, tensors


def read_adapter(name: str, folder: Path, model: PreTrainedModel, dtype: torch.dtype | None = None) -> Adapter:
    """Read a PEFT LoRA adapter (safetensors only) for rows of ``model``, in ``dtype`` or in what is fastest there.

    Raises:
        ModelLoadError: missing or broken files, a kind of adapter that cannot share a batch, or weights that do not fit
            this base.
    """
    import torch

    stamp = adapter_stamp(folder)
    if _is_shift(folder):
        return Adapter(name, stamp, {}, read_shift(name, folder / WEIGHTS, model))
    config, tensors = adapter_tensors(name, folder)
    # on a CPU a bfloat16 product of one row costs 20 us before it starts, a float32 one 3 us
    dtype = dtype or (torch.float32 if model.device.type == "cpu" else model.dtype)
    modules = dict(model.named_modules())
    parts = {}
    for path, pair in tensors.items():
        module = modules.get(path)
        if module is None or set(pair) != {"A", "B"}:
            raise ModelLoadError(f"The adapter {name} does not fit this base: {path} is not a layer of it.")
        down, up = pair["A"], pair["B"]
        wanted = _size(module)
        if down.ndim != 2 or up.ndim != 2 or (down.shape[1], up.shape[0]) != wanted or down.shape[0] != up.shape[1]:
            raise ModelLoadError(
                f"The adapter {name} does not fit this base: {path} is {wanted[0]} to {wanted[1]}, "
                f"the adapter {down.shape[-1]} to {up.shape[0]}."
            )
        scale = scaling(config, path, down.shape[0])
        # scaled before rounding, laid out as the products read them
        down, up = down.t(), up.float().t() * scale
        parts[path] = (down.to(model.device, dtype).contiguous(), up.to(model.device, dtype).contiguous())
    return Adapter(name, stamp, parts)


def grouped(
    voices: Sequence[tuple[str, float] | None], adapters: Mapping[str, Adapter]
) -> tuple[list[int], list[RowGroup]]:
    """Rows by who answers, an adapter (its name in ``adapters``) at a strength, or the base (None): an order in which rows of one are
    side by side, the base's first, and the groups of rows in that order."""
    distinct = [None, *dict.fromkeys(voice for voice in voices if voice is not None)]
    order = sorted(range(len(voices)), key=lambda row: distinct.index(voices[row]))
    counts, start, groups = Counter(voices), 0, []
    for voice in distinct:
        stop = start + counts[voice]
        if voice is not None:
            groups.append(RowGroup(adapters[voice[0]], start, stop, voice[1]))
        start = stop
    return order, groups


@contextlib.contextmanager
def attached(model: PreTrainedModel, groups: Sequence[RowGroup]) -> Iterator[None]:
    """For the time of the ``with`` block, rows of each group go through its adapter; all other rows are the base's.

    Only the thread that owns the model may do this, and batches must be ``[rows, tokens, features]`` in these modules.
    """
    by_module: dict[str, list[_Part]] = {}
    for group in groups:
        for path, (down, up) in group.adapter.parts.items():
            scaled = up if group.strength == 1 else up * group.strength
            part = _Part(group.start, group.stop, down.unsqueeze(0), scaled.unsqueeze(0))
            by_module.setdefault(path, []).append(part)
    distinct = {(group.adapter.name, group.strength): group.adapter.size_bytes for group in groups}
    stacked = len(groups) > 1 and sum(distinct.values()) <= STACK_BYTES
    changed: list[Any] = []
    hooks = contextlib.ExitStack()
    try:
        for group in groups:
            for path, vector in group.adapter.shifts.items():
                rows = slice(group.start, group.stop)
                hooks.enter_context(shifted(model.get_submodule(path), vector * group.strength, rows))
        for path, parts in by_module.items():
            module = model.get_submodule(path)
            # set on the instance, so that removing it uncovers the class's own method again
            previous = module.__dict__.get("forward")
            module.forward = _with_rows(module.forward, _stack(parts) if stacked else parts)  # type: ignore[assignment]
            changed.append((module, previous))
        yield
    finally:
        hooks.close()
        for module, previous in changed:
            if previous is None:
                del module.forward
            else:
                module.forward = previous


def _stack(parts: list[_Part]) -> list[_Part]:
    """Neighbouring parts with equally many rows as one, so that all their products are two calls instead of two each.
    Lower ranks are filled up with zeros, which changes nothing."""
    from torch import cat
    from torch.nn.functional import pad

    merged: list[_Part] = []
    for part in parts:
        before = merged[-1] if merged else None
        if (
            before is None
            or before.stop != part.start
            or (before.stop - before.start) // before.down.shape[0] != part.stop - part.start
        ):
            merged.append(part)
            continue
        rank = max(before.down.shape[2], part.down.shape[2])
        downs = [pad(p.down, (0, rank - p.down.shape[2])) for p in (before, part)]
        ups = [pad(p.up, (0, 0, 0, rank - p.up.shape[1])) for p in (before, part)]
        merged[-1] = _Part(before.start, part.stop, cat(downs), cat(ups))
    return merged


def _with_rows(
    forward: Callable[[torch.Tensor], torch.Tensor], parts: list[_Part]
) -> Callable[[torch.Tensor], torch.Tensor]:
    from torch import bmm

    def run(x: torch.Tensor) -> torch.Tensor:
        out = forward(x)
        for start, stop, down, up in parts:
            rows, count = x[start:stop].to(down.dtype), down.shape[0]
            if stop - start == count:
                out[start:stop].add_(bmm(bmm(rows, down), up))
            else:
                product = bmm(bmm(rows.reshape(count, -1, x.shape[2]), down), up)
                out[start:stop].add_(product.view(stop - start, x.shape[1], -1))
        return out

    return run


def _is_shift(folder: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return isinstance(config, dict) and config.get("peft_type") == KIND
    return False


def _check_kind(name: str, config: dict[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise ModelLoadError(f"The adapter {name} is of kind {config.get('peft_type')!r}; only LoRA can be compared.")
    odd = [key for key in _UNSUPPORTED if config.get(key)]
    if config.get("bias", "none") != "none":
        odd.append("bias")
    if odd:
        raise ModelLoadError(
            f"The adapter {name} uses {', '.join(odd)}, which cannot share a batch with other adapters."
        )


def _size(module: Any) -> tuple[int | None, int | None]:
    """(inputs, outputs) of a linear layer; GPT-2's kind holds its weight as [in, out] and does not say so."""
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, Conv1D):
        return module.weight.shape[0], module.weight.shape[1]
    return getattr(module, "in_features", None), getattr(module, "out_features", None)


def scaling(config: dict[str, Any], path: str, rank: int) -> float:
    """PEFT's ``alpha / r`` (``alpha / sqrt(r)`` for rsLoRA), per-layer patterns included."""
    alpha = _pattern(config.get("alpha_pattern"), path, config.get("lora_alpha", 8))
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))


def _pattern(patterns: dict[str, Any] | None, path: str, default: float) -> float:
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            return float(value)
    return float(default)
