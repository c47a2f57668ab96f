"""Do the raters agree? Krippendorff's alpha with its interval, and raw agreement beside it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.domain.votes import Vote
from studio.services.statistics.intervals import Interval, percentiles, resampled_sums

if TYPE_CHECKING:
    from numpy import ndarray

#: What a vote can say of a pair, in the pair's own order of answers: sides are drawn anew for every rater and play no part.
VALUES = ("1", "2", "tie", "both_bad")
#: Krippendorff's conventions: below the first no conclusions, from the second on reliable.
TENTATIVE, RELIABLE = 0.667, 0.8


@dataclass(frozen=True)
class Agreement:
    """Agreement on the pairs that at least two raters voted on (skips are no votes).

    Attributes:
        alpha: Krippendorff's alpha, nominal: 1 is perfect, 0 is chance, below 0 is worse than chance. None where it is not
            defined: no pair with two votes, or every vote the same (nothing to be right about by chance).
        interval: 95 %, pairs resampled; None where there are too few pairs or nothing varies between resamples.
        pairs, votes, raters: what it was measured on.
        agreeing: of ``couples`` couples of votes on the same pair, how many say the same.
    """

    alpha: float | None
    interval: Interval | None
    pairs: int
    votes: int
    raters: int
    agreeing: int
    couples: int

    @property
    def raw(self) -> float | None:
        """The share of couples of votes on the same pair that agree. Not corrected for chance."""
        return self.agreeing / self.couples if self.couples else None

    @property
    def reading(self) -> str:
        """One sentence that reads alpha, the conventions called conventions."""
        if self.alpha is None:
            if not self.pairs:
                return "No pair has votes of two raters yet, so there is nothing to compare."
            return (
                "Every vote says the same, so agreement beyond chance cannot be told from chance: alpha is not defined."
            )
        if self.alpha >= RELIABLE:
            word = "reliable by Krippendorff's convention (0.8 and more)"
        elif self.alpha >= TENTATIVE:
            word = "fit for tentative conclusions by Krippendorff's convention (0.667 to 0.8)"
        elif self.alpha > 0:
            word = (
                "below Krippendorff's conventional 0.667: raters differ a lot, be it in taste, in care, or because the answers "
                "are equally good. Many votes still find a small difference; single votes say little"
            )
        else:
            word = "no better than chance: these votes do not speak of the answers with one voice"
        return f"Alpha is {word}."


def measure_agreement(votes: Iterable[Vote]) -> Agreement:
    """The agreement of ``votes``."""
    import numpy as np

    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    raters: defaultdict[str, set[str]] = defaultdict(set)
    for vote in votes:
        if vote.choice != "skip":
            counts[vote.pair_id][vote.choice] += 1
            raters[vote.pair_id].add(vote.rater_id)
    shared = sorted(pair for pair, count in counts.items() if count.total() >= 2)
    table = np.array([[counts[pair][value] for value in VALUES] for pair in shared], int).reshape(-1, len(VALUES))
    per_pair = table.sum(axis=1)
    alpha, interval = _alpha(table)
    return Agreement(
        alpha=alpha,
        interval=interval,
        pairs=len(shared),
        votes=int(per_pair.sum()),
        raters=len(set().union(*(raters[pair] for pair in shared))),
        agreeing=int((table * (table - 1)).sum()) // 2,
        couples=int((per_pair * (per_pair - 1)).sum()) // 2,
    )


def _alpha(table: ndarray) -> tuple[float | None, Interval | None]:
    """Alpha of the counts (pairs × values) and its interval.

    The point comes from the ``krippendorff`` library. For the resamples its nominal form is written as sums over pairs:
    1 - (n-1) * sum_u[(n_u^2 - sum_c n_uc^2) / (n_u - 1)] / (n^2 - sum_c n_c^2), with n_uc the votes of pair u for value c.
    """
    if not len(table) or (table.sum(axis=0) > 0).sum() < 2:
        return None, None
    import krippendorff
    import numpy as np

    alpha = float(krippendorff.alpha(value_counts=table, level_of_measurement="nominal"))
    per_pair = table.sum(axis=1)
    apart = (per_pair**2 - (table**2).sum(axis=1)) / (per_pair - 1)
    if not apart.any():  # perfect in every resample, too: an interval of no width would claim a certainty nobody has
        return alpha, None
    sums = resampled_sums(np.column_stack([apart, table]).astype(float))
    totals = sums[:, 1:].sum(axis=1)
    chance = totals**2 - (sums[:, 1:] ** 2).sum(axis=1)
    varied = chance > 0
    alphas = 1 - (totals[varied] - 1) * sums[varied, 0] / chance[varied]
    return alpha, percentiles(alphas, len(table), missing=int((~varied).sum()))
