"""What a run asks a cluster for, and what it waits for, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from studio.config import Settings
from studio.services.wording import counted

Resources = Mapping[str, float]


def wanted(settings: Settings) -> dict[str, float]:
    """What a run asks for, by Ray's names: cores, GPUs, bytes of memory."""
    asked = {"CPU": float(settings.ray_cpus), "GPU": settings.ray_gpus, "memory": settings.ray_memory_mb * 1e6}
    return {name: amount for name, amount in asked.items() if amount > 0}


def waits_for(asked: Resources, free: Resources, nodes: Iterable[Resources]) -> str:
    """A sentence on a run that has not begun. ``free`` is what the whole cluster has left, ``nodes`` what each living node has in all."""
    if not any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
        return (
            f"No node of the Ray cluster has {_words(asked)} in all; the run waits until one joins. STUDIO_RAY_CPUS, STUDIO_RAY_GPUS and "
            "STUDIO_RAY_MEMORY_MB say what a run asks for."
        )
    lacking = {name: amount for name, amount in asked.items() if free.get(name, 0) < amount}
    return (
        f"Waiting for {_words(lacking)} on the Ray cluster." if lacking else "Waiting for its turn on the Ray cluster."
    )


def _words(resources: Resources) -> str:
    return " and ".join(
        f"{amount / 1e9:g} GB of memory"
        if name == "memory"
        else counted(int(amount), name)
        if float(amount).is_integer()
        else f"{amount:g} {name}"
        for name, amount in resources.items()
    )
