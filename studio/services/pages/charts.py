"""Charts as plain SVG, in pixels, for a template to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from studio.domain.events import ProbeEvent, StepEvent
from studio.services.evaluations.curves import Curve
from studio.services.wording import true_minus

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 440, 230, 48, 30, 28, 12
#: Classes of the style sheet that several lines of one chart take in turn.
_KINDS = ("support", "main", "third", "fourth")


@dataclass(frozen=True)
class Line:
    """A line by name, with its points (step, value); ``kind`` is its class in the style sheet."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A chart as it is drawn: ``lines`` as (name, kind, path), ``grid`` as (y, label), ``ticks`` as (x, label), ``marks`` the heights of
    dashed lines; ``below`` says what the horizontal axis has."""

    title: str
    lines: tuple[tuple[str, str, str], ...]
    grid: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[float, ...] = ()
    below: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def training_charts(steps: Sequence[StepEvent], probes: Sequence[ProbeEvent], ratio: float | None) -> list[Chart]:
    """Stance, rewards and margin, loss, accuracy, in the order of the studio's page; those without a point are left out. ``ratio`` is
    what was asked for, from 0 to 1; None where nothing was."""
    rewards = [
        Line("preferred", "support", [(s.step, s.reward_chosen) for s in steps]),
        Line("not preferred", "oppose", [(s.step, s.reward_rejected) for s in steps]),
        Line("margin", "main", [(s.step, s.margin) for s in steps]),
    ]
    charts = [
        _chart(
            "Held-out stance",
            [Line("", "main", [(p.step, p.share) for p in probes])],
            (0, 1),
            () if ratio is None else (ratio,),
        ),
        _chart("Rewards and margin", rewards),
        _chart("Loss", [Line("", "main", [(s.step, s.loss) for s in steps])]),
        _chart("Accuracy", [Line("", "main", [(s.step, s.accuracy) for s in steps])], (0, 1)),
    ]
    return [chart for chart in charts if chart is not None]


def distribution_chart(title: str, curves: Sequence[Curve], below: str) -> Chart | None:
    """The share of values at or below each, one step line a curve, what stands before dashed; None without a curve."""
    if not curves:
        return None
    low = min(curve.values[0] for curve in curves)
    high = max(curve.values[-1] for curve in curves)
    room = (high - low) * 0.03 or 0.5
    low, high = low - room, high + room

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    lines, after = [], 0
    for curve in curves:
        n = len(curve.values)
        path = f"M{across(curve.values[0]):.1f} {_up(0, 0, 1):.1f}"
        path += "".join(f"H{across(x):.1f}V{_up((k + 1) / n, 0, 1):.1f}" for k, x in enumerate(curve.values))
        lines.append((curve.name, "oppose dashed" if curve.before else _KINDS[after % len(_KINDS)], path))
        after += not curve.before
    return Chart(
        title,
        tuple(lines),
        tuple((_up(share, 0, 1), f"{share:.0%}") for share in (0.0, 0.5, 1.0)),
        tuple((across(value), true_minus(f"{value:.2f}")) for value in (low + room, (low + high) / 2, high - room)),
        below=below,
    )


def _up(y: float, low: float, high: float) -> float:
    return TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)


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
        return LEFT + x / last * (WIDTH - LEFT - RIGHT)

    paths = [
        (line.name, line.kind, "M" + "L".join(f"{across(x):.1f} {_up(y, low, high):.1f}" for x, y in line.points))
        for line in shown
        if line.points
    ]
    middle = (low + high) / 2
    return Chart(
        title,
        tuple(paths),
        tuple((_up(y, low, high), f"{y:.0%}" if span else true_minus(f"{y:.2g}")) for y in (low, middle, high)),
        ((across(0), "step 0"), (across(last), f"{last:g}")),
        tuple(_up(mark, low, high) for mark in marks if math.isfinite(mark)),
    )
