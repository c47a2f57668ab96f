"""A steering vector: one direction added to what a layer gives to rows of a batch, with no weight trained."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelLoadError

if TYPE_CHECKING:
    import torch

#: Beside the kinds of PEFT: what the config of a folder says that holds a vector.
KIND = "STEERING"


def write_shift(folder: Path, weights: str, config: str, layer: str, vector: torch.Tensor) -> None:
    """Write the vector ``[hidden]`` of the module ``layer`` into a new ``folder``, under the file names of adapters, the weights last."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / config).write_text(json.dumps({"peft_type": KIND, "layer": layer}), encoding="utf-8")
    fresh = folder / f"{weights}.tmp"
    save_file({layer: vector.detach().float().cpu().contiguous()}, fresh)
    fresh.rename(folder / weights)


def read_shift(name: str, weights: Path, model: Any) -> dict[str, torch.Tensor]:
    """The vector in a file, by the module of ``model`` whose output it is added to, on the model's device in its arithmetic.

    Raises:
        ModelLoadError: it does not fit this base.
    """
    from safetensors.torch import load_file

    shifts = {path: vector.to(model.device, model.dtype) for path, vector in load_file(weights).items()}
    modules, size = dict(model.named_modules()), model.config.get_text_config().hidden_size
    if any(path not in modules or vector.shape != (size,) for path, vector in shifts.items()):
        raise ModelLoadError(f"The steering vector {name} does not fit this base.")
    return shifts


@contextlib.contextmanager
def shifted(module: Any, vector: torch.Tensor, rows: slice) -> Iterator[None]:
    """Within the block ``vector`` is added to every token that ``module`` puts out for ``rows`` of a batch ``[rows, tokens, hidden]``."""

    def add(_: Any, __: Any, output: Any) -> None:
        (output[0] if isinstance(output, tuple) else output)[rows].add_(vector)

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
