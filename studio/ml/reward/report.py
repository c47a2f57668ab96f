"""What a reward model's margins on held-out pairs say, beside two baselines that know nothing of the answers' worth."""

from __future__ import annotations

import math
from collections.abc import Sequence

from studio.domain.data import PreferenceRow
from studio.domain.events import ProbeEvent, RewardReport
from studio.ml.measure.wilson import wilson

#: Bins of the predicted probability, from one half to one.
BINS = 5


def make_report(
    step: int,
    margins: Sequence[float],
    heldout: Sequence[PreferenceRow],
    training: Sequence[PreferenceRow],
    has_sides: bool,
    dropped: int,
) -> RewardReport:
    """The report of :class:`studio.domain.events.RewardReport`; ``margins`` belong to ``heldout``, row by row.

    An equal reward is not a hit: who cannot tell two answers apart has not chosen the right one.
    """
    n, hits = len(margins), sum(margin > 0 for margin in margins)
    low, high = wilson(hits, n)
    return RewardReport(
        step=step,
        n=n,
        hits=hits,
        ties=sum(margin == 0 for margin in margins),
        low=low,
        high=high,
        majority=majority_share(training, heldout) if has_sides else 0.5,
        longer=longer_share(heldout),
        margins=tuple(margins),
        calibration=calibration(margins),
        dropped=dropped,
    )


def probe_event(step: int, margins: Sequence[float], elapsed: float) -> ProbeEvent:
    """Share of pairs whose chosen answer has the higher reward (ties one half) and the mean margin."""
    return ProbeEvent(
        step=step,
        share=sum(_right(margin) for margin in margins) / len(margins),
        n=len(margins),
        margin=sum(margins) / len(margins),
        elapsed=elapsed,
    )


def majority_share(training: Sequence[PreferenceRow], heldout: Sequence[PreferenceRow]) -> float:
    """Share of ``heldout`` that "always the side chosen more often in ``training``" gets right; .5 where both sides are
    chosen equally often, NaN without held-out rows."""
    support = sum(row.side == "support" for row in training)
    if not heldout:
        return math.nan
    if 2 * support == len(training):
        return 0.5
    side = "support" if 2 * support > len(training) else "oppose"
    return sum(row.side == side for row in heldout) / len(heldout)


def longer_share(heldout: Sequence[PreferenceRow]) -> float:
    """Share of ``heldout`` that "the answer of more characters wins" gets right, equal lengths counting one half; NaN
    without held-out rows."""
    if not heldout:
        return math.nan
    return sum(_right(len(row.chosen) - len(row.rejected)) for row in heldout) / len(heldout)


def calibration(margins: Sequence[float]) -> tuple[tuple[float, float, int], ...]:
    """``(mean predicted probability, share right, pairs)`` of each bin of ``sigmoid(|margin|)`` that has pairs: five bins
    of equal width from .5 to 1. A tie is right by one half."""
    bins: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for margin in margins:
        probability = 1 / (1 + math.exp(-abs(margin)))
        bins[min(BINS - 1, int((probability - 0.5) * 2 * BINS))].append((probability, _right(margin)))
    return tuple(
        (sum(p for p, _ in pairs) / len(pairs), sum(right for _, right in pairs) / len(pairs), len(pairs))
        for pairs in bins
        if pairs
    )


def _right(margin: float) -> float:
    return 1.0 if margin > 0 else 0.5 if margin == 0 else 0.0
