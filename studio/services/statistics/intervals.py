"""Intervals for shares and for anything computed from sums over clusters. Pure; numpy and scipy are imported inside functions.

Votes on one prompt are alike: a rater who likes short answers likes them twice, and an easy prompt is easy for everybody.
Counting such votes as independent makes intervals too narrow, so what is resampled here is never a vote but its cluster
(a prompt, or a pair for agreement).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from studio.ml.measure import wilson as closed_form
from studio.ml.measure.wilson import Z

if TYPE_CHECKING:
    from numpy import ndarray

RESAMPLES = 2000
#: Every interval of a page is drawn from the same seed: the same votes give the same numbers, on every visit.
SEED = 20_263
#: Below this many clusters no percentile interval can hold 95 %: between the smallest and the largest of n clusters the
#: middle one lies with probability 1 - 2^(1-n), which passes .95 at n = 6.
MIN_CLUSTERS = 6
#: How a share's interval came about.
Method = Literal["bootstrap", "few clusters", "no variation", "one cluster", "no votes"]
#: Numbers held at once while resampling: 4 million doubles are 32 MB.
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A 95 % interval. Either end may be infinite where the scale is."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies inside, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class ShareInterval:
    """The interval of a share over clusters; ``error`` its standard error; both None where ``method`` says why."""

    interval: Interval | None
    error: float | None
    method: Method


def wilson(k: float, n: float) -> Interval | None:
    """As :func:`studio.ml.measure.wilson.wilson`; None for no trials."""
    return Interval(*closed_form.wilson(k, n)) if n > 0 else None


def cluster_share(hits: ndarray, votes: ndarray) -> ShareInterval:
    """The interval of ``sum(hits) / sum(votes)``, whole clusters resampled with replacement.

    Args:
        hits: per cluster, the successes (a tie is half a one).
        votes: per cluster, how many votes it has; all positive.

    Two cases have no percentile interval, and get a *Wilson bound in which each cluster counts as one vote* instead: fewer
    than ``MIN_CLUSTERS`` clusters, and clusters that all have the same share (every vote for one side, say), whose every
    resample is the same number: an interval of no width would claim a certainty that nobody has. A cluster's share lies
    in [0, 1] and so varies by at most p(1-p), which makes this bound the wide, careful one; clusters of unequal size count
    as Kish's effective number of them, (sum n)^2 / sum n^2. One cluster says nothing of other prompts: no interval.
    """
    clusters, total = len(votes), float(votes.sum())
    if total == 0:
        return ShareInterval(None, None, "no votes")
    if clusters == 1:
        return ShareInterval(None, None, "one cluster")
    share = float(hits.sum()) / total
    same = bool((abs(hits / votes - share) < 1e-12).all())
    if same or clusters < MIN_CLUSTERS:
        effective = total * total / float((votes * votes).sum())
        bound = wilson(share * effective, effective)
        assert bound is not None  # there are clusters
        return ShareInterval(bound, (bound.high - bound.low) / (2 * Z), "no variation" if same else "few clusters")
    import numpy as np

    sums = resampled_sums(np.column_stack([hits, votes]).astype(float))
    shares = sums[:, 0] / sums[:, 1]
    return ShareInterval(percentiles(shares, clusters), float(shares.std(ddof=1)), "bootstrap")


def resampled_sums(columns: ndarray, resamples: int = RESAMPLES, seed: int = SEED) -> ndarray:
    """Column sums of ``columns`` (clusters × m) over ``resamples`` draws of as many clusters with replacement:
    an array of resamples × m."""
    import numpy as np

    draws = np.random.default_rng(seed)
    clusters = len(columns)
    parts = []
    for size in _portions(resamples, clusters):
        drawn = draws.integers(clusters, size=(size, clusters)) + clusters * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * clusters).reshape(size, clusters)
        parts.append(times.astype(float) @ columns)
    return np.concatenate(parts)


def percentiles(values: ndarray, clusters: int, missing: int = 0) -> Interval | None:
    """The *expanded percentile* interval of bootstrap ``values`` drawn from ``clusters`` clusters.

    The plain percentile interval is too narrow for few clusters: it lacks the factor n/(n-1) of the variance and uses the
    normal's quantiles where Student's are due. Hesterberg (2015, "What teachers should know about the bootstrap") moves
    the percentiles outwards to make up for both: to the normal's distribution function at -sqrt(n/(n-1)) * t(.975, n-1).

    Args:
        missing: further resamples in which the statistic has no finite value. They are put beyond *both* ends, so that
            leaving them out never narrows the interval; None when there are too many of them for that.
    """
    import numpy as np
    from scipy.special import stdtrit  # scipy.stats.t.ppf by its quicker import

    if clusters < MIN_CLUSTERS:
        return None
    level = NormalDist().cdf(-math.sqrt(clusters / (clusters - 1)) * float(stdtrit(clusters - 1, 0.975)))
    beyond = missing / (len(values) + missing)
    if beyond >= level:
        return None
    inside = (level - beyond) / (1 - beyond)
    low, high = np.quantile(values, [inside, 1 - inside])
    return Interval(float(low), float(high))


def _portions(resamples: int, clusters: int) -> Iterator[int]:
    """``resamples`` in portions that fit the memory set aside."""
    most = max(1, _AT_ONCE // max(1, clusters))
    for start in range(0, resamples, most):
        yield min(most, resamples - start)
