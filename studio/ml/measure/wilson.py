"""The Wilson score interval of a share. Pure."""

from __future__ import annotations

import math

#: Two-sided 95 %.
Z = 1.959963984540054


def wilson(k: float, n: float) -> tuple[float, float]:
    """95 % Wilson score interval of ``k`` successes in ``n`` independent trials; (NaN, NaN) for no trials.

    Wilson (1927); the closed form as in Brown, Cai, DasGupta (2001, "Interval estimation for a binomial proportion").
    ``k`` and ``n`` may be fractional (an effective number of trials).
    """
    if n <= 0:
        return math.nan, math.nan
    share = k / n
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    # at k = 0 and k = n the closed form misses 0 and 1 by a rounding error
    return 0.0 if k == 0 else max(0.0, centre - half), 1.0 if k == n else min(1.0, centre + half)
