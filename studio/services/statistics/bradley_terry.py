"""Ratings of three and more players from who beat whom (Bradley & Terry 1952), with intervals over prompts. Pure.

The chance that i beats j is 1 / (1 + 10^((r_j - r_i) / 400)): the Elo scale, on which 400 points are odds of 10 to 1. A
maximum of the likelihood exists only where every player can be reached from every other over wins (Ford 1957; Hunter 2004,
assumption 1). Where it does not, the usual remedy is a prior nobody sees; here such players get no number, and it is said
which and why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.services.statistics.intervals import Interval, percentiles, resampled_sums

if TYPE_CHECKING:
    from numpy import ndarray

#: The mean rating of a group.
CENTRE = 1000.0
#: Points for one natural logarithm of odds.
POINTS = 400 / math.log(10)
#: Numbers held at once while fitting resamples.
_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Rating:
    """A player's points; ``interval`` 95 % over prompts, None where there are too few prompts for one."""

    player: str
    points: float
    interval: Interval | None


@dataclass(frozen=True)
class Group:
    """Players that can be compared with each other, best first. Points mean something within a group only, and are
    centred on :data:`CENTRE` in each. ``votes`` between its members, on ``prompts`` prompts; of the resamples,
    ``unbounded`` had no finite rating."""

    ratings: tuple[Rating, ...]
    votes: int
    prompts: int
    unbounded: int


@dataclass(frozen=True)
class Unrated:
    """A player without a number, and why, as a clause to follow the name."""

    player: str
    reason: str


@dataclass(frozen=True)
class Standings:
    """Groups of comparable players, the one with most votes first, and the players that fall outside of all."""

    groups: tuple[Group, ...]
    unrated: tuple[Unrated, ...]

    @property
    def connected(self) -> bool:
        """Whether everybody can be compared with everybody."""
        return len(self.groups) == 1 and not self.unrated


def rate_players(players: Sequence[str], wins: ndarray) -> Standings:
    """Ratings from ``wins`` (prompts × players × players): on a prompt, how often the row's player beat the column's; a tie
    is half a win for both."""
    import numpy as np

    total = wins.sum(axis=0)
    groups, unrated = [], []
    labels = _components(total[None])[0]
    for label in dict.fromkeys(labels.tolist()):
        members = np.flatnonzero(labels == label).tolist()
        if len(members) == 1:
            unrated.append(Unrated(players[members[0]], _why(total, members[0])))
        else:
            groups.append(_rate([players[m] for m in members], wins[:, members][:, :, members]))
    groups.sort(key=lambda group: (-group.votes, group.ratings[0].player))
    unrated.sort(key=lambda one: one.player)
    assert sum(len(g.ratings) for g in groups) + len(unrated) == len(players) == np.shape(total)[0]
    return Standings(tuple(groups), tuple(unrated))


def _rate(players: Sequence[str], wins: ndarray) -> Group:
    import numpy as np

    wins = wins[wins.sum(axis=(1, 2)) > 0]  # a prompt on which no two of them met says nothing of them
    prompts, count = len(wins), len(players)
    points = CENTRE + POINTS * fit(wins.sum(axis=0)[None])[0]
    sums = resampled_sums(wins.reshape(prompts, -1).astype(float)).reshape(-1, count, count)
    drawn = np.concatenate([fit(part) for part in np.array_split(sums, -(-sums.size // _AT_ONCE))])
    finite = np.isfinite(drawn).all(axis=1)
    drawn = CENTRE + POINTS * drawn[finite]
    missing = int((~finite).sum())
    ratings = []
    for n, player in enumerate(players):
        values = drawn[:, n]
        # the same on every prompt: an interval of no width would claim a certainty that nobody has
        varies = len(values) > 0 and float(np.ptp(values)) > 1e-6
        interval = percentiles(values, prompts, missing) if varies else None
        ratings.append(Rating(player, float(points[n]), interval))
    ratings.sort(key=lambda rating: (-rating.points, rating.player))
    return Group(tuple(ratings), round(float(wins.sum())), prompts, missing)


def fit(wins: ndarray) -> ndarray:
    """Maximum-likelihood log strengths (problems × players, mean 0 each) of ``wins`` (problems × players × players).

    Newton's method on all problems at once. The likelihood is concave, and strictly so up to a constant where the graph of
    wins is strongly connected; a problem whose graph is not has no finite maximum and comes back as NaN, as does one that
    has not converged.
    """
    import numpy as np

    problems, count, _ = wins.shape
    games, won = wins + wins.transpose(0, 2, 1), wins.sum(axis=2)
    strengths = np.full((problems, count), np.nan)
    components = _components(wins)
    todo = np.flatnonzero((components == components[:, :1]).all(axis=1))
    strengths[todo] = 0.0
    for _ in range(100):
        if not len(todo):
            break
        now = strengths[todo]
        chance = 1 / (1 + np.exp(now[:, None, :] - now[:, :, None]))
        slope = won[todo] - (games[todo] * chance).sum(axis=2)
        left = np.abs(slope).max(axis=1) > 1e-9 * np.maximum(1.0, games[todo].sum(axis=(1, 2)))
        todo, now, chance, slope = todo[left], now[left], chance[left], slope[left]
        curve = games[todo] * chance * (1 - chance)
        # the information matrix; the ones pin the free constant and leave the solution's mean at 0
        matrix = np.eye(count) * curve.sum(axis=2)[:, :, None] - curve + 1.0
        step = np.linalg.solve(matrix, slope[:, :, None])[:, :, 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        strengths[todo] = now + step * np.minimum(1.0, 2.0 / np.maximum(longest, 1e-300))
    strengths[todo] = np.nan
    return strengths - strengths.mean(axis=1, keepdims=True)


def _components(wins: ndarray) -> ndarray:
    """A number for each player of each problem (problems × players), the same within a problem for those of whom everybody is
    reached from everybody over wins."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    problems, count, _ = wins.shape
    # one graph whose parts do not touch: a call for each of thousands of resamples would take its time
    at, winner, loser = np.nonzero(wins)
    edges = (at * count + winner, at * count + loser)
    graph = coo_array((np.ones(len(at)), edges), shape=(problems * count, problems * count))
    return connected_components(graph, connection="strong")[1].reshape(problems, count)


def _why(total: ndarray, player: int) -> str:
    won, lost = float(total[player].sum()), float(total[:, player].sum())
    if not won and not lost:
        return "has no votes against another"
    if not lost:
        return "has won every vote: no finite rating fits that"
    if not won:
        return "has lost every vote: no finite rating fits that"
    return "beats one part of the others always and loses to the rest always, so nothing ties its rating to theirs"
