"""What the best of n samples is worth, from more samples than n. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean


def best_of(rewards: Sequence[float], values: Sequence[float], n: int) -> float:
    """Mean of ``values`` at the sample of the highest reward, over all choices of ``n`` of the samples.

    With the samples ordered by reward, the one in place ``i`` (from 1) is the best in ``C(i-1, n-1)`` of the ``C(N, n)`` choices
    (Nakano et al. 2021, appendix I); samples of equal reward share their places' weight.

    Raises:
        ValueError: there are fewer than ``n`` samples.
    """
    if not 1 <= n <= len(rewards):
        raise ValueError(f"n is {n}; there are {len(rewards)} samples.")
    groups: dict[float, list[float]] = {}
    for reward, value in zip(rewards, values, strict=True):
        groups.setdefault(reward, []).append(value)
    total, below = 0.0, 0
    for reward in sorted(groups):
        tied = groups[reward]
        here = below + len(tied)
        # choices whose best lies in this group: those within it and below, less those wholly below
        total += (math.comb(here, n) - math.comb(below, n)) * fmean(tied)
        below = here
    return total / math.comb(len(rewards), n)


def best_of_kl(n: int) -> float:
    """KL divergence of the best of ``n`` samples from the model they are drawn from, in nats: ``log n - (n - 1) / n``, an upper bound
    (Beirami et al. 2024)."""
    return math.log(n) - (n - 1) / n
