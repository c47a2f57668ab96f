"""Line charts as plain SVG figures, in pixels, for a template to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from studio.domain.events import ProbeEvent, StepEvent

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 440, 230, 48, 30, 28


@dataclass(frozen=True)
class Line:
    """A line by name, with its points (step, value); ``kind`` is its class in the style sheet."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A chart as it is drawn: ``lines`` as (name, kind, path), ``grid`` as (y, label), ``ticks`` as (x, label), ``marks`` the heights of
    dashed lines."""

    title: str
    lines: tuple[tuple[str, str, str], ...]
    grid: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[float, ...]


def training_charts(steps: Sequence[StepEvent], probes: Sequence[ProbeEvent], ratio: float) -> list[Chart]:
    """Stance, rewards and margin, loss, accuracy, in the order of the studio's page; those without a point are left out. ``ratio`` is
    what was asked for, from 0 to 1."""
    rewards = [
        Line("preferred", "support", [(s.step, s.reward_chosen) for s in steps]),
        Line("not preferred", "oppose", [(s.step, s.reward_rejected) for s in steps]),
        Line("margin", "main", [(s.step, s.margin) for s in steps]),
    ]
    charts = [
        _chart("Held-out stance", [Line("", "main", [(p.step, p.share) for p in probes])], (0, 1), (ratio,)),
        _chart("Rewards and margin", rewards),
        _chart("Loss", [Line("", "main", [(s.step, s.loss) for s in steps])]),
        _chart("Accuracy", [Line("", "main", [(s.step, s.accuracy) for s in steps])], (0, 1)),
    ]
    return [chart for chart in charts if chart is not None]


def _chart(
    title: str, lines: Sequence[Line], span: tuple[float, float] | None = None, marks: Sequence[float] = ()
) -> Chart | None:
    shown = [
        Line(line.name, line.kind, [(x, y) for x, y in line.points if math.isfinite(x) and math.isfinite(y)])
        for line in lines
    ]
    points = [point for line in shown for point in line.points]
    if not points:
        return None
    low, high = span or (min(y for _, y in points), max(y for _, y in points))
    high = high if high > low else low + 1
    last = max(1.0, *(x for x, _ in points))

    def across(x: float) -> float:
        return LEFT + x / last * (WIDTH - LEFT - 12)

    def up(y: float) -> float:
        return TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    paths = [
        (line.name, line.kind, "M" + "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in line.points))
        for line in shown
        if line.points
    ]
    middle = (low + high) / 2
    return Chart(
        title,
        tuple(paths),
        tuple((up(y), f"{y:.0%}" if span else f"{y:.2g}") for y in (low, middle, high)),
        tuple((across(x), f"{x:g}") for x in (0, last)),
        tuple(up(mark) for mark in marks if math.isfinite(mark)),
    )
