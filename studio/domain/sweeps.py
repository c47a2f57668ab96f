"""Sweeps: runs that differ in one thing (or a few), made to be read together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from studio.domain.events import SupportShare

#: What a sweep can vary beside the seed.
Axis = Literal["ratio", "loss", "data_size", "beta"]


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep by its id, and what sets it apart. ``ratio`` is its support_ratio, ``loss`` its loss type."""

    run: str
    ratio: float
    loss: str
    data_size: int
    beta: float
    seed: int


@dataclass(frozen=True)
class BlendPoint:
    """What the answers of a blend come to: the adapter of the higher ratio with ``weight``, that of the lower one with the rest."""

    weight: float
    measured: SupportShare


@dataclass(frozen=True)
class MeasuredBlend:
    """The blends of two runs of a sweep, ``first`` with weight w and ``second`` with 1 - w, along w."""

    first: str
    second: str
    points: tuple[BlendPoint, ...]


@dataclass(frozen=True)
class Sweep:
    """A sweep's own record, beside the runs; what they are and what became of them stands in their folders.

    Attributes:
        axis: what is drawn from left to right; what else varies makes lines of its own.
        flip_share: share of the labels flipped on purpose in all runs.
        created: Unix seconds.
    """

    id: str
    title: str
    axis: Axis
    base: str
    dataset_title: str
    flip_share: float
    created: float
    runs: tuple[SweepRun, ...]
    blend: MeasuredBlend | None = None
