"""What votes say of two models, of sides, raters and pace, and what filters leave out: by hand and by independent libraries."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from studio.domain.votes import Choice, Origin
from studio.errors import InputError
from studio.services.statistics.intervals import Interval, cluster_share, wilson
from studio.services.votes.filters import VoteFilters, filtered
from studio.services.votes.quality import Pace
from studio.services.votes.statistics import Match, name_players, report, votes_to_settle
from tests.helpers.ballots import BASE, BLUE, RED, Box


def duel(*prompts: Sequence[Choice], one: Origin = RED, two: Origin = BASE) -> Match:
    """Red against the base: a pair on a prompt of its own for each list of choices ("1" is Red)."""
    box = Box()
    for choices in prompts:
        pair = box.pair(one, two)
        for choice in choices:
            box.vote(pair, choice)
    (match,) = box.report().matches
    return match


# -- who is preferred --------------------------------------------------------------------------------------------------


def test_counts_and_rate_by_hand() -> None:
    match = duel(["1", "1", "2", "skip"], ["tie", "both_bad"], ["1"])
    assert (match.a.label, match.b.label) == ("Red", "Base")
    assert (match.wins, match.losses, match.ties, match.both_bad, match.skips) == (3, 1, 1, 1, 1)
    assert match.rate == pytest.approx((3 + 0.5 + 0.5) / 6)
    assert (match.votes, match.pairs, match.prompts, match.raters) == (6, 3, 3, 3)


def test_the_order_of_a_pairs_answers_does_not_matter() -> None:
    box = Box()
    box.vote(box.pair(RED, BASE), "1")
    box.vote(box.pair(BASE, RED), "2")
    (match,) = box.report().matches
    assert (match.a.label, match.wins, match.losses) == ("Red", 2, 0)


def test_a_clear_preference_is_said_on_either_side() -> None:
    prompts = [["1", "1", "2"]] * 20 + [["1", "1", "1"]] * 20
    assert duel(*prompts).verdict == "a"
    flipped = [["2" if choice == "1" else "1" for choice in choices] for choices in prompts]
    assert duel(*flipped).verdict == "b"  # type: ignore[arg-type]


def test_an_interval_that_holds_one_half_is_open() -> None:
    match = duel(*[["1"]] * 11, *[["2"]] * 9)
    assert match.verdict == "open"
    assert match.interval is not None
    assert match.interval.holds(0.5)


def test_pairs_of_one_prompt_are_one_cluster() -> None:
    box = Box()
    for number in range(12):
        box.vote(box.pair(RED, BASE, prompt=[" the SAME ", "The same", "Another"][number % 3]), "1")
    (match,) = box.report().matches
    assert (match.pairs, match.prompts) == (12, 2)
    assert match.method == "no variation"
    # 8 votes on one prompt and 4 on the other: Kish's effective number is 144 / 80 = 1.8
    bound = wilson(1.8, 1.8)
    assert bound is not None
    assert match.interval == Interval(pytest.approx(bound.low), 1.0)  # type: ignore[arg-type]
    assert match.verdict == "open"


def test_one_prompt_says_nothing_of_others() -> None:
    match = duel(["1"] * 30)
    assert (match.rate, match.interval, match.verdict, match.method) == (1.0, None, "open", "one cluster")
    assert (match.more, match.many) == (None, False)


def test_no_votes_and_only_skips_have_no_rate() -> None:
    for match in (duel([]), duel(["skip", "skip"])):
        assert (match.rate, match.interval, match.verdict, match.method) == (None, None, "none", "no votes")
        assert match.more is None


def test_all_wins_claim_no_certainty() -> None:
    match = duel(*[["1", "1", "1"]] * 10)
    theirs = stats.binomtest(10, 10).proportion_ci(method="wilson")
    assert match.method == "no variation"
    assert match.interval is not None
    assert (match.interval.low, match.interval.high) == pytest.approx((theirs.low, 1.0))
    assert match.verdict == "a"
    assert duel(*[["1", "1", "1"]] * 3).verdict == "open"  # three prompts out of three happen by chance


def test_nothing_but_ties_is_no_preference() -> None:
    match = duel(*[["tie", "both_bad"]] * 30)
    assert (match.rate, match.verdict, match.many) == (0.5, "open", True)


def test_few_prompts_get_the_careful_bound() -> None:
    match = duel(["1", "1"], ["1", "2"], ["1", "1"], ["1", "1"])
    theirs = wilson(3.5, 4)
    assert (match.method, match.interval) == ("few clusters", theirs)


def test_votes_to_settle_settle_it() -> None:
    """By simulation: with as many votes in all as are asked for, four studies in five exclude one half."""
    rate, votes = 0.6, 50
    more = votes_to_settle(rate, math.sqrt(rate * (1 - rate) / votes), votes, votes)
    assert more is not None
    assert more == pytest.approx(0.24 * (2.8016 / 0.1) ** 2 - votes, rel=0.05)  # the textbook's 188 in all
    rng = np.random.default_rng(3)
    settled = 0
    for _ in range(300):
        found = cluster_share(rng.binomial(1, rate, votes + more).astype(float), np.ones(votes + more)).interval
        assert found is not None
        settled += found.low > 0.5
    assert 0.72 <= settled / 300 <= 0.88


def test_a_rate_near_one_half_asks_for_a_great_many() -> None:
    assert votes_to_settle(0.51, 0.05, 100, 50) is None
    assert votes_to_settle(0.53, 0.3, 100, 50) is None  # more than ten thousand
    match = duel(*[["1"], ["2"]] * 20)
    assert (match.more, match.many) == (None, True)


def test_more_votes_are_asked_for_while_open_only() -> None:
    open_ = duel(*[["1"]] * 12, *[["2"]] * 8)
    assert open_.more is not None
    assert 100 <= open_.more <= 300
    assert duel(*[["1"]] * 30, *[["2"]] * 3).more is None


def test_two_samples_of_one_player_are_no_match_and_are_counted() -> None:
    box = Box()
    box.vote(box.pair(RED, RED), "1")
    box.vote(box.pair(RED, BASE), "1")
    found = box.report()
    assert (found.same_player, found.votes, [m.votes for m in found.matches]) == (1, 2, [1])


def test_a_player_keeps_its_newest_name_and_names_stay_apart() -> None:
    box = Box()
    old = dataclasses.replace(RED, label="Old")
    box.pair(old, BASE)
    box.pair(BASE, RED)
    box.pair(dataclasses.replace(BLUE, label="Base"), BASE)
    players = name_players(box.ballots().pairs)
    assert [player.label for player in players.values()] == ["Base (blue)", "Red", "Base (tiny)"]


def test_numbers_stay_the_same_whatever_the_order_of_votes() -> None:
    box = Box()
    for number in range(30):
        pair = box.pair(RED, BASE)
        for _ in range(3):
            box.vote(pair, "1" if (number * 7) % 5 < 3 else "2")
    ballots = box.ballots()
    mixed = list(ballots.votes)
    random.Random(1).shuffle(mixed)
    again = report(dataclasses.replace(ballots, votes=tuple(mixed)))
    assert again.matches == report(ballots).matches
    assert again.agreement == report(ballots).agreement


# -- sides, raters, pace -----------------------------------------------------------------------------------------------


def test_the_left_sides_share_by_hand() -> None:
    box = Box()
    pair = box.pair(RED, BASE)
    for choice, left in [("1", 1), ("1", 1), ("2", 2), ("2", 1), ("tie", 1), ("both_bad", 2), ("skip", 1)]:
        box.vote(pair, choice, left=left)  # type: ignore[arg-type]
    sides = box.report().sides
    assert (sides.left, sides.votes, sides.share) == (3, 4, 0.75)
    assert sides.interval == wilson(3, 4)
    assert not sides.off


@pytest.mark.parametrize(("left", "off"), [(50, False), (59, False), (61, True), (39, True)])
def test_a_side_that_wins_too_often_is_off(left: int, off: bool) -> None:
    box = Box()
    for number in range(100):
        box.vote(box.pair(RED, BASE), "1", left=1 if number < left else 2)
    assert box.report().sides.off is off


def test_raters_and_their_votes() -> None:
    box = Box()
    for number, (rater, choice, seconds) in enumerate(
        [("ann", "1", 2.0), ("ann", "2", 4.0), ("ann", "skip", 9.0), ("bob", "tie", 0.4), ("cat", "skip", 1.0)]
    ):
        box.vote(box.pair(RED, BASE), choice, rater, seconds, left=1 + number % 2)  # type: ignore[arg-type]
    ann, bob, cat = box.report().raters
    assert (ann.name, ann.votes, ann.skips, ann.seconds, ann.fast) == ("Name of ann", 2, 1, 3.0, 0)
    assert (ann.left, ann.sided) == (2, 2)
    assert (bob.votes, bob.fast, bob.sided) == (1, 1, 0)
    assert (cat.votes, cat.skips, cat.seconds) == (0, 1, None)


def test_pace_is_numpys_quartiles() -> None:
    box = Box()
    seconds = [0.5, 0.9, 1.0, 4.0, 7.0, 12.0, 300.0]
    for second in [*seconds, math.nan, math.inf, -1.0]:
        box.vote(box.pair(RED, BASE), "1", seconds=second)
    pace = box.report().pace
    assert (pace.votes, pace.untimed, pace.fast) == (7, 3, 2)
    assert (pace.lower, pace.median, pace.upper) == pytest.approx(tuple(np.percentile(seconds, [25, 50, 75])))
    assert Box().report().pace == Pace(0, 0, None, None, None, 0)


# -- filters -----------------------------------------------------------------------------------------------------------


def mixed_box() -> Box:
    box = Box()
    screen = box.pair(RED, BASE, source="compare")
    shared = box.pair(RED, BASE, calibration=True)
    file = box.pair(RED, BASE, source="import", retired=True)
    for rater in ("ann", "bob"):
        box.vote(screen, "1", rater, 5.0)
        box.vote(shared, "1", rater, 0.5)
        box.vote(file, "skip", rater, 3.0)
    box.vote(screen, "2", "cat", 0.2)
    return box


def test_no_filter_leaves_out_nothing() -> None:
    ballots = mixed_box().ballots()
    found = filtered(ballots, VoteFilters())
    assert found.ballots == ballots
    assert (found.total, found.kept, found.left_out) == (7, 7, ())


@pytest.mark.parametrize(
    ("filters", "gone"),
    [
        ({"min_votes": 2}, [("by raters with fewer than 2 votes in all", 1, 0)]),
        ({"min_seconds": 1.0}, [("faster than 1 s", 3, 0)]),
        ({"without_calibration": True}, [("on calibration pairs", 2, 0)]),
        ({"without_retired": True}, [("on retired pairs", 2, 2)]),
        ({"sources": ("batch", "import")}, [("on pairs from the screen of Compare", 3, 0)]),
        ({"without_raters": ("ann", "bob")}, [("by 2 raters left out by hand", 6, 2)]),
        ({"without_raters": ("nobody",)}, [("by 1 rater left out by hand", 0, 0)]),
        (
            {"without_calibration": True, "min_seconds": 1.0, "min_votes": 2},
            [("on calibration pairs", 2, 0), ("faster than 1 s", 1, 0), ("by raters with fewer than 2 votes in all", 0, 0)],
        ),
    ],
)  # fmt: skip
def test_each_filter_tells_what_it_leaves_out(filters: dict[str, object], gone: list[tuple[str, int, int]]) -> None:
    found = filtered(mixed_box().ballots(), VoteFilters(**filters))  # type: ignore[arg-type]
    assert [(line.reason, line.votes, line.skips) for line in found.left_out] == gone
    assert found.total == 7 == found.kept + sum(line.votes for line in found.left_out)


def test_a_report_adds_up_under_any_filters() -> None:
    for chosen in itertools.product(
        (0, 2), (0.0, 1.0), (False, True), (False, True), (("batch",), ("compare", "import"))
    ):
        found = report(mixed_box().ballots(), VoteFilters(*chosen))  # type: ignore[arg-type]
        assert found.total == found.votes + found.skips + sum(line.votes for line in found.left_out)
        assert sum(match.votes for match in found.matches) + found.same_player == found.votes
        assert sum(rater.votes for rater in found.raters) == found.votes == len(found.times)


@pytest.mark.parametrize(
    "wrong", [{"min_votes": -1}, {"min_seconds": math.nan}, {"min_seconds": -1.0}, {"sources": ("x",)}]
)
def test_a_filter_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        VoteFilters(**wrong)  # type: ignore[arg-type]


def test_an_empty_box_is_reported_empty() -> None:
    found = Box().report()
    assert (found.total, found.votes, found.matches, found.standings, found.raters) == (0, 0, (), None, ())
    assert found.sides.share is None
    assert found.agreement.alpha is None
