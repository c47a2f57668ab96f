"""The best of n samples against all choices counted one by one."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean

import pytest

from studio.services.statistics.best_of import best_of, best_of_kl


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_best_of_n_equals_the_mean_over_all_choices(n: int) -> None:
    rewards, values = [0.3, -1.0, 2.0, 0.3, 1.0], [5.0, 1.0, 2.0, 9.0, 4.0]

    def best(chosen: tuple[int, ...]) -> float:
        top = max(rewards[i] for i in chosen)
        return fmean([values[i] for i in chosen if rewards[i] == top])

    # of tied samples the formula gives each its share over all choices, whichever of them a choice holds
    expected = fmean([best(chosen) for chosen in combinations(range(5), n)])
    assert best_of(rewards, values, n) == pytest.approx(expected)


def test_more_samples_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="n is 3; there are 2 samples"):
        best_of([1.0, 2.0], [0.0, 0.0], 3)


def test_choosing_among_one_moves_nothing() -> None:
    assert best_of_kl(1) == 0
    assert best_of_kl(16) == pytest.approx(1.835, abs=1e-3)
