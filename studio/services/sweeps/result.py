"""What a sweep came to: its points, what its settings have in common, a sentence that reads it, files. Pure functions."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from studio.domain.events import SampleEvent, SupportShare
from studio.domain.sweeps import Axis, Sweep, SweepRun
from studio.services.files.tables import BOM, csv_text
from studio.services.statistics.intervals import Interval, wilson
from studio.services.sweeps.plan import AXES
from studio.services.sweeps.service import SweepView
from studio.services.wording import bounds, counted

#: What the axes are called on screen.
NAMES: dict[Axis, str] = {"ratio": "support_ratio", "loss": "loss", "data_size": "pairs", "beta": "beta"}


@dataclass(frozen=True)
class Level:
    """The measured runs of one setting.

    Attributes:
        at: the value on the axis; ``line`` the values of what else varies, empty where nothing does.
        asked: the share that was asked for.
        share: mean of the runs' shares, which lie between ``lowest`` and ``highest``.
        interval: 95 % Wilson interval of all their judged answers together, ``n`` of them.
        runs: how many.
    """

    at: float | str
    line: str
    asked: float
    share: float
    lowest: float
    highest: float
    interval: Interval
    n: int
    runs: int


def value(run: SweepRun, axis: Axis) -> float | str:
    """A run's value on an axis."""
    known: float | str = getattr(run, axis)
    return known


def line_of(sweep: Sweep, run: SweepRun) -> str:
    """The values of what varies in a sweep beside its axis and the seed."""
    others = [axis for axis in AXES if axis != sweep.axis and len({value(r, axis) for r in sweep.runs}) > 1]
    return ", ".join(f"{NAMES[axis]} {_written(value(run, axis))}" for axis in others)


def levels(view: SweepView) -> list[Level]:
    """What was measured at each setting, line by line, along the axis."""
    measured: dict[tuple[str, float | str], list[tuple[SweepRun, SupportShare]]] = {}
    for planned, run in view.pairs():
        if run is not None and run.adapter_share is not None and run.adapter_share.n:
            key = line_of(view.sweep, planned), value(planned, view.sweep.axis)
            measured.setdefault(key, []).append((planned, run.adapter_share))
    made = []
    for (line, at), runs in measured.items():
        shares = [share.share for _, share in runs]
        n, interval = _pooled([share for _, share in runs])
        mean = sum(shares) / len(shares)
        made.append(Level(at, line, runs[0][0].ratio, mean, min(shares), max(shares), interval, n, len(runs)))
    # losses keep the order they were given in
    return sorted(made, key=lambda level: (level.line, level.at if isinstance(level.at, int | float) else 0))


def base_share(view: SweepView) -> dict[str, Any] | None:
    """The base's measured share, the draws of all seeds together; None until it is measured."""
    by_seed = {planned.seed: run.base_share for planned, run in view.pairs() if run is not None and run.base_share}
    judged = [share for share in by_seed.values() if share.n]
    if not judged:
        return None
    n, interval = _pooled(judged)
    abstained = sum(share.abstained for share in judged)
    return {
        "share": sum(share.share * share.n for share in judged) / n,
        "low": interval.low,
        "high": interval.high,
        "n": n,
        "abstained": abstained,
    }


def result(view: SweepView) -> dict[str, Any]:
    """A sweep as plain data: the keys of ``python -m studio sweep --json``."""
    sweep = view.sweep
    return {
        "sweep": sweep.id,
        "title": sweep.title,
        "axis": sweep.axis,
        "flip_share": sweep.flip_share,
        "points": [_point(planned, run) for planned, run in view.pairs()],
        "base": base_share(view),
        "blend": None
        if sweep.blend is None
        else {
            "first": sweep.blend.first,
            "second": sweep.blend.second,
            "points": [{"weight": point.weight, **_share(point.measured)} for point in sweep.blend.points],
        },
        "sentence": " ".join(sentences(view)),
        "done": view.ended,
        "total": len(view.runs),
        "seconds": round(view.seconds, 1),
    }


def csv_file(view: SweepView) -> bytes:
    """The points as a table for spreadsheets."""
    rows = [_point(planned, run) for planned, run in view.pairs()]
    return (BOM + csv_text(list(rows[0]), rows)).encode()


def json_file(view: SweepView) -> bytes:
    """:func:`result` as a file."""
    return (json.dumps(result(view), ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def sentences(view: SweepView) -> list[str]:
    """What the sweep says, for people who have not read many."""
    sweep, measured = view.sweep, levels(view)
    said = []
    lost = len(view.here) - sum(run.adapter_share is not None for run in view.here) - (len(view.runs) - view.ended)
    if measured:
        said += _ratios(measured) if sweep.axis == "ratio" else _others(sweep, measured)
        if (spread := max(level.highest - level.lowest for level in measured)) > 0:
            said.append(f"Seeds of one setting lie up to {_points(spread)} apart.")
        if base := base_share(view):
            said.append(f"The base: {base['share']:.0%} {bounds(base['low'], base['high'])}.")
    if lost > 0:
        said.append(f"{counted(lost, 'run')} ended without a measured share.")
    return said


def answers_to(samples: Sequence[Sequence[SampleEvent]], prompt: str) -> list[str]:
    """The newest answer of each run's film-strip to ``prompt``; empty where there is none."""
    return [next((s.answer for s in reversed(one) if s.prompt == prompt and s.step), "") for one in samples]


def _ratios(measured: Sequence[Level]) -> list[str]:
    """Of each line whether it follows what was asked for."""
    said = []
    for line, group in itertools.groupby(measured, key=lambda level: level.line):
        along = list(group)
        first, last, head = along[0], along[-1], f"{line}: " if line else ""
        if len(along) == 1:
            said.append(f"{head}Asked for {first.asked:.0%}, measured {first.share:.0%}.")
            continue
        rises = [before.share < after.share for before, after in itertools.pairwise(along)]
        falls = any(before.share > after.share for before, after in itertools.pairwise(along))
        farthest = max(along, key=lambda level: abs(level.share - level.asked))
        holds = sum(level.interval.holds(level.asked) for level in along)
        said.append(
            f"{head}Measured support goes from {first.share:.0%} (asked for {first.asked:.0%}) to {last.share:.0%} (asked for "
            f"{last.asked:.0%}), {'not rising at every step' if falls else 'rising at every step' if all(rises) else 'never falling'}; it is farthest from the diagonal at "
            f"{farthest.asked:.0%}, by {_points(abs(farthest.share - farthest.asked))}, and {holds} of {len(along)} intervals hold what was "
            "asked for."
        )
    return said


def _others(sweep: Sweep, measured: Sequence[Level]) -> list[str]:
    """Which setting comes nearest to what was asked for, and whether that can be told."""
    levels = "; ".join(
        f"{NAMES[sweep.axis]} {_written(level.at)}{f' ({level.line})' if level.line else ''}: {level.share:.0%} "
        f"{bounds(level.interval.low, level.interval.high)}"
        for level in measured
    )
    flipped = f" with {sweep.flip_share:.0%} of the labels flipped" if sweep.flip_share else ""
    said = [f"Asked for {measured[0].asked:.0%}{flipped}: {levels}."]
    if len(measured) > 1:
        near = sorted(measured, key=lambda level: abs(level.share - level.asked))
        apart = near[0].interval.low > near[1].interval.high or near[1].interval.low > near[0].interval.high
        nearest = f"{NAMES[sweep.axis]} {_written(near[0].at)}"
        said.append(
            f"Nearest to that is {nearest}, and its interval lies apart from that of the next one."
            if apart
            else f"Nearest to that is {nearest}, but its interval meets that of the next one, so these runs cannot tell them apart."
        )
    return said


def _pooled(shares: Sequence[SupportShare]) -> tuple[int, Interval]:
    n = sum(share.n for share in shares)
    interval = wilson(sum(share.share * share.n for share in shares), n)
    return n, interval or Interval(math.nan, math.nan)


def _point(planned: SweepRun, run: Any) -> dict[str, Any]:
    share = run.adapter_share if run else None
    return {
        "ratio": planned.ratio,
        "loss": planned.loss,
        "data_size": planned.data_size,
        "beta": planned.beta,
        "seed": planned.seed,
        **_share(share),
        "state": run.status.state if run else "deleted",
        "run": planned.run,
    }


def _share(share: SupportShare | None) -> dict[str, Any]:
    """The figures of a measured share; None for what there is not."""
    if share is None or not share.n:
        none = dict.fromkeys(("share", "low", "high"))
        return {**none, "n": 0, "abstained": share.abstained if share else 0, "whole": share.whole if share else None}
    return {
        "share": share.share,
        "low": share.low,
        "high": share.high,
        "n": share.n,
        "abstained": share.abstained,
        "whole": share.whole,
    }


def _written(at: float | str) -> str:
    return at if isinstance(at, str) else f"{at:g}"


def _points(difference: float) -> str:
    return counted(round(difference * 100), "point")
