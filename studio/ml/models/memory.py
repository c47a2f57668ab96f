"""How much memory a base takes, and how much there is."""

from __future__ import annotations

import math
from pathlib import Path

from studio.errors import ModelLoadError

#: Bytes of a weight in memory; of one in 4 bits with its scales and the parts left in bfloat16.
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_FOUR_BIT = 0.7
_CGROUP = Path("/sys/fs/cgroup")


def count_weights(path: Path) -> int:
    """Weights in a safetensors file, read from its header alone.

    Raises:
        ModelLoadError: it is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as opened:
            return sum(math.prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise ModelLoadError(f"{path} is not a safetensors file.") from error


def base_mb(folder: Path, dtype: str = "bfloat16", load_in_4bit: bool = False) -> int:
    """About what the base in a folder takes once it is loaded (10^6 bytes): its weights, and a tenth for the working space.

    Raises:
        ModelLoadError: as :func:`count_weights`.
    """
    weights = sum(count_weights(path) for path in folder.glob("*.safetensors"))
    return round(weights * (_FOUR_BIT if load_in_4bit else _BYTES[dtype]) * 1.1 / 1e6)


def free_mb(device: str) -> int:
    """Free memory of a device (10^6 bytes); for all but CUDA that of the machine, or of the container this runs in."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0] // 1_000_000)
    import psutil

    free = psutil.virtual_memory().available
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no container of this kind
        return int(free // 1_000_000)
    if limit.isdigit():  # "max": none; files read once are given back when memory is wanted
        free = min(free, int(limit) - used + int(stat.get("inactive_file", 0)))
    return int(max(0, free) // 1_000_000)
