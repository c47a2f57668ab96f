"""How the votes were cast: sides, pace, and each rater's part. Pure."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from studio.domain.votes import Ballots, Vote
from studio.services.statistics.intervals import Interval, wilson

#: A vote faster than this, in seconds, was hardly read.
VERY_FAST_S = 1.0


@dataclass(frozen=True)
class SideBias:
    """How often the answer on the left won, among votes for one of the two sides.

    Sides are drawn anew for every (pair, rater), whatever the answers are worth: without a bias each such vote is a fair
    coin of its own, so here, unlike for win rates, votes are independent and Wilson's interval is the right one.
    """

    left: int
    votes: int
    interval: Interval | None

    @property
    def share(self) -> float | None:
        """The left side's share; None without votes."""
        return self.left / self.votes if self.votes else None

    @property
    def off(self) -> bool:
        """Whether one half lies outside the interval."""
        return self.interval is not None and not self.interval.holds(0.5)


@dataclass(frozen=True)
class RaterShare:
    """One rater's part: ``votes`` that count, ``skips``, median ``seconds`` a vote, how many were ``fast`` (under
    ``VERY_FAST_S``), and how often the ``left`` side won of the ``sided`` votes for one side."""

    id: str
    name: str
    votes: int
    skips: int
    seconds: float | None
    fast: int
    left: int
    sided: int


@dataclass(frozen=True)
class Pace:
    """Seconds a vote took: quartiles of the ``votes`` that have a usable time (``untimed`` have none), ``fast`` of them
    under ``VERY_FAST_S``. Quartiles are None without votes."""

    votes: int
    untimed: int
    lower: float | None
    median: float | None
    upper: float | None
    fast: int


def measure_sides(votes: Iterable[Vote]) -> SideBias:
    """How often the left side won; ties, "both bad" and skips have no side."""
    sided = [vote for vote in votes if vote.choice in ("1", "2")]
    left = sum(_left_won(vote) for vote in sided)
    return SideBias(left, len(sided), wilson(left, len(sided)))


def measure_raters(ballots: Ballots) -> tuple[RaterShare, ...]:
    """Everybody with at least one vote or skip, most votes first."""
    names = {rater.id: rater.name for rater in ballots.raters}
    cast: defaultdict[str, list[Vote]] = defaultdict(list)
    for vote in ballots.votes:
        cast[vote.rater_id].append(vote)
    shares = []
    for rater, votes in cast.items():
        opinions = [vote for vote in votes if vote.choice != "skip"]
        sides, pace = measure_sides(opinions), measure_pace(opinions)
        skips = len(votes) - len(opinions)
        shares.append(
            RaterShare(
                rater, names.get(rater, ""), len(opinions), skips, pace.median, pace.fast, sides.left, sides.votes
            )
        )
    return tuple(sorted(shares, key=lambda share: (-share.votes, -share.skips, share.name, share.id)))


def measure_pace(votes: Iterable[Vote]) -> Pace:
    """Quartiles of the time per vote (linear interpolation between order statistics)."""
    listed = list(votes)
    seconds = sorted(vote.seconds for vote in listed if timed(vote))
    lower = median = upper = None
    if seconds:
        lower, median, upper = statistics.quantiles(seconds * (2 if len(seconds) == 1 else 1), n=4, method="inclusive")
    fast = sum(second < VERY_FAST_S for second in seconds)
    return Pace(len(seconds), len(listed) - len(seconds), lower, median, upper, fast)


def _left_won(vote: Vote) -> bool:
    return vote.choice == str(vote.left)


def timed(vote: Vote) -> bool:
    """Whether the page could tell how long the vote took."""
    return math.isfinite(vote.seconds) and vote.seconds >= 0
