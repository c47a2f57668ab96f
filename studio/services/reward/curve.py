"""The learning curve of a reward model: the same run on a part of its pairs, measured on the same held-out ones. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from studio.domain.data import PreferenceRow
from studio.domain.runs import RewardRecipe
from studio.services.runs.store import RunView
from studio.services.statistics.intervals import Interval, Z
from studio.services.wording import signed

#: Shares of the pairs that a learning curve is trained on.
SHARES = (0.25, 0.5, 1.0)
#: A gain in accuracy that would be worth collecting twice as many votes for.
WORTH = 0.03


@dataclass(frozen=True)
class CurvePoint:
    """A run on ``rows`` pairs, right in ``hits`` of ``n`` held-out ones, with its 95 % Wilson interval; ``right`` says which,
    in their order; ``baseline`` is the better of the two baselines on them."""

    run_id: str
    rows: int
    hits: int
    n: int
    low: float
    high: float
    baseline: float
    right: tuple[bool, ...]

    @property
    def accuracy(self) -> float:
        """Share of the held-out pairs that it gets right."""
        return self.hits / self.n


def part_of(rows: Sequence[PreferenceRow], share: float, seed: int) -> tuple[PreferenceRow, ...]:
    """A share of ``rows`` drawn by lot, in their order; a smaller share of the same rows and seed lies within a larger one. Rows of
    each side keep their proportion, and the side that more rows prefer stays that."""
    places: list[int] = []
    support = sum(row.side == "support" for row in rows)
    for side in ("support", "oppose"):
        own = [place for place, row in enumerate(rows) if row.side == side]
        random.Random(f"{seed} {side}").shuffle(own)
        mostly = (2 * support >= len(rows)) == (side == "support")
        places += own[: (math.ceil if mostly else math.floor)(share * len(own))]
    return tuple(rows[place] for place in sorted(places))


def learning_curve(run: RunView, runs: Sequence[RunView]) -> tuple[CurvePoint, ...]:
    """The points that belong to ``run``, by their number of pairs: those of ``runs`` that differ from it in nothing but how many pairs
    they were trained on, the newest of each number (``runs`` are listed newest first). Empty where there are fewer than two."""
    mine = _alike(run)
    points: dict[int, CurvePoint] = {}
    for other in runs:
        report = other.reward
        if mine is None or not report or not report.n or other.status.state != "done" or _alike(other) != mine:
            continue
        if points and report.n != next(iter(points.values())).n:  # an older version left out other rows as too long
            continue
        rows = RewardRecipe.of(other.recipe).data_size
        baseline = max(report.majority, report.longer)
        right = tuple(margin > 0 for margin in report.margins)
        point = CurvePoint(other.run_id, rows, report.hits, report.n, report.low, report.high, baseline, right)
        points.setdefault(rows, point)
    return tuple(points[rows] for rows in sorted(points)) if len(points) > 1 else ()


def gain(points: Sequence[CurvePoint]) -> tuple[float, Interval]:
    """How much accuracy the last step of the curve brought, with a 95 % interval from the pairs that only one of the two runs gets right
    (Agresti and Min 2005, which is no point where there are none)."""
    before, after = points[-2].right, points[-1].right
    gained, lost = (
        sum(a and not b for a, b in zip(*sides, strict=True)) for sides in ((after, before), (before, after))
    )
    n = len(after)
    middle = (gained - lost) / (n + 2)
    error = math.sqrt((gained + lost + 1) / (n + 2) - (gained - lost) ** 2 / (n + 2) ** 2) / math.sqrt(n + 2)
    return (gained - lost) / n, Interval(middle - Z * error, middle + Z * error)


def more_votes(points: Sequence[CurvePoint]) -> str:
    """One sentence on whether more votes would help, from the last step of a curve of at least two points."""
    mean, interval = gain(points)
    first, last = points[-2], points[-1]
    change = (
        f"from {first.rows:,} to {last.rows:,} pairs accuracy went from {first.accuracy:.0%} to {last.accuracy:.0%} "
        f"({signed(100 * mean, 1)} points, 95 % interval {signed(100 * interval.low, 1)} to {signed(100 * interval.high, 1)}) on the same {last.n:,} "
        "held-out pairs"
    )
    if interval.low > 0:
        return f"More votes are likely to help: {change}."
    if interval.high < WORTH:
        return f"More votes of this kind are not likely to help: {change}."
    return f"Not decided whether more votes help: {change}; a gain of {100 * WORTH:.0f} points is neither shown nor ruled out."


def _alike(run: RunView) -> RewardRecipe | None:
    """The recipe without what may differ between points of one curve; None for a run of another method."""
    if not isinstance(run.recipe, RewardRecipe):
        return None
    return replace(
        run.recipe,
        run_id="",
        title="",
        preset="",
        row_ids=(),
        rows_support=(),
        left_out=(),
        cut=0,
        created=0.0,
        versions={},
    )
