"""Intervals of shares and of sums over clusters, against scipy and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from studio.services.statistics import intervals
from studio.services.statistics.intervals import cluster_share, percentiles, resampled_sums, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (81, 263), (3, 3)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
    ours = wilson(k, n)
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_of_nothing_is_nothing() -> None:
    assert wilson(0, 0) is None


@pytest.mark.parametrize("freedom", [5, 6, 9, 30, 1000])
def test_percentiles_are_moved_outwards_by_students_quantile(freedom: int) -> None:
    clusters = freedom + 1
    level = stats.norm.cdf(-math.sqrt(clusters / freedom) * stats.t.ppf(0.975, freedom))
    values = np.random.default_rng(freedom).normal(size=5000)
    ends = percentiles(values, clusters)
    assert ends is not None
    assert (ends.low, ends.high) == pytest.approx(tuple(np.quantile(values, [level, 1 - level])), abs=1e-9)


def test_resampled_sums_draw_whole_clusters_with_replacement() -> None:
    columns = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    sums = resampled_sums(columns, resamples=20_000)
    assert (sums[:, 1] == 10 * sums[:, 0]).all()  # the columns of a cluster stay together
    assert set(sums[:, 0]) == {float(a + b + c) for a, b, c in itertools.product((1, 2, 4), repeat=3)}
    assert (sums[:, 0] == 3.0).mean() == pytest.approx(1 / 27, abs=0.005)


def test_resampling_in_portions_is_resampling(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.arange(30.0).reshape(10, 3)
    whole = resampled_sums(columns, resamples=50)
    monkeypatch.setattr(intervals, "_AT_ONCE", 70)
    assert (resampled_sums(columns, resamples=50) == whole).all()


def test_the_bootstraps_error_is_the_sandwich_one() -> None:
    """A ratio's standard error over clusters has a closed form: sqrt(sum((hits - share * votes)^2)) / sum(votes)."""
    rng = np.random.default_rng(7)
    votes = rng.integers(1, 6, 80).astype(float)
    hits = rng.binomial(votes.astype(int), rng.beta(2, 2, 80)).astype(float)
    share = hits.sum() / votes.sum()
    closed = math.sqrt(((hits - share * votes) ** 2).sum()) / votes.sum()
    found = cluster_share(hits, votes)
    assert found.method == "bootstrap"
    assert found.error == pytest.approx(closed, rel=0.05)
    assert found.interval is not None
    assert (found.interval.high - found.interval.low) / 2 == pytest.approx(1.96 * closed, rel=0.1)


def test_the_interval_holds_the_truth_about_95_times_in_100() -> None:
    """And counting votes as independent would not: 5 votes a prompt that lean the same way."""
    rng = np.random.default_rng(11)
    trials, held, naive = 400, 0, 0
    for _ in range(trials):
        hits = rng.binomial(5, rng.beta(1.2, 0.8, 20)).astype(float)  # the true rate is .6
        found = cluster_share(hits, np.full(20, 5.0)).interval
        counted = wilson(hits.sum(), 100)
        assert found is not None
        assert counted is not None
        held += found.holds(0.6)
        naive += counted.holds(0.6)
    assert 0.92 <= held / trials <= 0.98
    assert naive / trials < 0.85


def test_a_resample_without_a_value_never_narrows_an_interval() -> None:
    values = np.arange(1000.0)
    full, fewer = percentiles(values, 40), percentiles(values, 40, missing=10)
    assert full is not None
    assert fewer is not None
    assert fewer.low < full.low
    assert fewer.high > full.high
    assert percentiles(values, 40, missing=30) is None
    assert percentiles(values, 5) is None
