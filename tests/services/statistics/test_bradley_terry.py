"""Ratings of several models, against scipy, Hunter's algorithm and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize

from studio.services.statistics.bradley_terry import CENTRE, POINTS, fit, rate_players
from tests.helpers.ballots import BASE, BLUE, GREEN, RED, Box


def by_scipy(wins: np.ndarray) -> np.ndarray:
    """The same likelihood, maximised by somebody else."""

    def minus_log_likelihood(free: np.ndarray) -> float:
        strengths = np.append(free, 0.0)
        return float((wins * np.log1p(np.exp(strengths[None, :] - strengths[:, None]))).sum())

    found = optimize.minimize(minus_log_likelihood, np.zeros(len(wins) - 1), method="BFGS", options={"gtol": 1e-10})
    strengths = np.append(found.x, 0.0)
    return strengths - strengths.mean()


def hunter_mm(wins: np.ndarray) -> np.ndarray:
    """Hunter (2004), eq. 3, until it stands still."""
    games, won, gamma = wins + wins.T, wins.sum(axis=1), np.ones(len(wins))
    for _ in range(20_000):
        gamma = won / (games / (gamma[:, None] + gamma[None, :])).sum(axis=1)
        gamma /= np.exp(np.log(gamma).mean())
    return np.log(gamma)


def test_two_players_have_the_log_odds() -> None:
    (found,) = fit(np.array([[[0.0, 30.0], [10.0, 0.0]]]))
    assert found[0] - found[1] == pytest.approx(math.log(3), abs=1e-10)
    assert found.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ratings_are_those_of_scipy_and_of_hunters_algorithm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wins = rng.integers(1, 12, (5, 5)) / 2
    np.fill_diagonal(wins, 0.0)
    wins[0, 3] = wins[3, 0] = 0.0  # these two never met
    (found,) = fit(wins[None])
    assert found == pytest.approx(by_scipy(wins), abs=1e-5)
    assert found == pytest.approx(hunter_mm(wins), abs=1e-8)


def test_a_lopsided_tournament_still_converges() -> None:
    wins = np.array([[0, 4000.0, 0, 0], [1, 0, 4000, 0], [0, 1, 0, 4000], [0, 0, 1, 0]])
    (found,) = fit(wins[None])
    # a chain: every step is its own log odds
    assert found[:-1] - found[1:] == pytest.approx(np.full(3, math.log(4000)), abs=1e-6)


def chain(prompts: int, upsets: int) -> Box:
    """Red beats blue beats the base beats nobody, but for an upset on some prompts."""
    box = Box()
    for number in range(prompts):
        for better, worse in ((RED, BLUE), (BLUE, BASE), (RED, BASE)):
            box.vote(box.pair(better, worse, prompt=f"Q{number}"), "2" if number < upsets else "1")
    return box


def test_three_players_are_rated_with_intervals() -> None:
    standings = chain(40, 12).report().standings
    assert standings is not None
    assert standings.connected
    (group,) = standings.groups
    assert [rating.player for rating in group.ratings] == ["adapter:red", "adapter:blue", "base:tiny"]
    assert sum(rating.points for rating in group.ratings) / 3 == pytest.approx(CENTRE)
    assert (group.votes, group.prompts) == (120, 40)
    for rating in group.ratings[::2]:
        assert rating.interval is not None
        assert rating.interval.low < rating.points < rating.interval.high
    wins = np.array([[0, 28.0, 28], [12, 0, 28], [12, 12, 0]])
    assert [r.points for r in group.ratings] == pytest.approx(CENTRE + POINTS * by_scipy(wins), abs=1e-2)


def test_rating_intervals_hold_the_truth() -> None:
    """Four players of known strength, 60 prompts with one vote on each pair: coverage near 95 %."""
    rng = np.random.default_rng(5)
    truth = np.array([0.8, 0.2, -0.2, -0.8])
    held = total = 0
    for _ in range(40):
        wins = np.zeros((60, 4, 4))
        for i, j in itertools.combinations(range(4), 2):
            first = rng.random(60) < 1 / (1 + math.exp(truth[j] - truth[i]))
            wins[:, i, j], wins[:, j, i] = first, ~first
        (group,) = rate_players("abcd", wins).groups
        for rating in group.ratings:
            assert rating.interval is not None
            held += rating.interval.holds(CENTRE + POINTS * truth["abcd".index(rating.player)])
            total += 1
    assert 0.9 <= held / total <= 0.99


def test_a_player_that_won_everything_gets_no_number() -> None:
    box = chain(20, 8)
    for number in range(20):
        box.vote(box.pair(GREEN, RED, prompt=f"Q{number}"), "1")
    standings = box.report().standings
    assert standings is not None
    assert not standings.connected
    assert [(one.player, one.reason) for one in standings.unrated] == [
        ("adapter:green", "has won every vote: no finite rating fits that")
    ]
    (group,) = standings.groups
    assert {rating.player for rating in group.ratings} == {"adapter:red", "adapter:blue", "base:tiny"}
    # what green did to red does not move the others: the limit of the likelihood
    alone = chain(20, 8).report().standings
    assert alone is not None
    assert [r.points for r in group.ratings] == pytest.approx([r.points for r in alone.groups[0].ratings])


def test_players_that_never_met_stand_in_groups_of_their_own() -> None:
    box = Box()
    for number in range(8):
        box.vote(box.pair(RED, BLUE), "1" if number % 4 else "2")
        box.vote(box.pair(GREEN, BASE), "2" if number % 4 else "tie")
    standings = box.report().standings
    assert standings is not None
    assert [[r.player for r in group.ratings] for group in standings.groups] == [
        ["adapter:red", "adapter:blue"],
        ["base:tiny", "adapter:green"],
    ]
    assert not standings.unrated
    assert not standings.connected


def test_a_straight_order_rates_nobody() -> None:
    standings = chain(20, 0).report().standings
    assert standings is not None
    assert not standings.groups
    assert [one.reason.split(":")[0] for one in standings.unrated] == [
        "beats one part of the others always and loses to the rest always, so nothing ties its rating to theirs",
        "has won every vote",
        "has lost every vote",
    ]


def test_ratings_without_an_interval_where_resamples_come_apart() -> None:
    standings = chain(20, 1).report().standings  # a resample without that one upset has no finite rating: 36 % of them
    assert standings is not None
    (group,) = standings.groups
    assert group.unbounded == pytest.approx(2000 * (1 - 1 / 20) ** 20, rel=0.1)
    assert all(rating.interval is None for rating in group.ratings)


def test_two_players_need_no_rating() -> None:
    box = Box()
    box.vote(box.pair(RED, BASE), "1")
    box.pair(BLUE, BASE)  # no vote yet
    assert box.report().standings is None
