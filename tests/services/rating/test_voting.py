"""Voting: every press, changes of mind, undo, what is revealed and what is refused, against a real store."""

from __future__ import annotations

import dataclasses
import math

import pytest

from studio.domain.votes import RatingRules, Reveal
from studio.errors import ConflictError, InputError
from studio.services.rating.service import RatingService
from tests.helpers.pairs import new_pairs
from tests.helpers.rating import assert_counters_are_right, history, pair, press, served_to, somebody


@pytest.mark.parametrize("button", ["left", "right", "tie", "both_bad", "skip"])
def test_every_press(rating: RatingService, button: str) -> None:
    rating.add_pairs([pair()])
    anna = somebody(rating)
    served = served_to(rating, anna)
    assert press(rating, anna, served, button, 3.25) is None
    (vote,) = rating.ballots().votes
    stored = rating.ballots().pairs[0]
    chosen = {"left": served.left, "right": served.right}.get(button)
    expected = {stored.answer_1: "1", stored.answer_2: "2"}[chosen] if chosen else button
    assert (vote.choice, vote.seconds, vote.changes, vote.rater_id) == (expected, 3.25, 0, anna.id)
    assert vote.created == vote.updated
    assert rating.progress(anna).votes == (0 if button == "skip" else 1)


def test_the_same_vote_again_is_one_vote(rating: RatingService) -> None:
    rating.add_pairs([pair()])
    anna = somebody(rating)
    served = served_to(rating, anna)
    press(rating, anna, served, "left", 2.0)
    before = rating.ballots().votes
    press(rating, anna, served, "left", 9.0)
    rating.set_rules(RatingRules("", open=False))
    press(rating, anna, served, "left", 9.0)  # it was saved, so that is the answer, closed or not
    assert rating.ballots().votes == before
    assert history(rating) == []


def test_changing_ones_mind_keeps_the_old_choice(rating: RatingService) -> None:
    rating.add_pairs([pair()])
    anna = somebody(rating)
    served = served_to(rating, anna)
    for button in ("skip", "left", "right", "skip", "tie"):
        press(rating, anna, served, button)
        assert_counters_are_right(rating)
    (vote,) = rating.ballots().votes
    left, right = (str(vote.left), str(3 - vote.left))
    assert (vote.choice, vote.changes) == ("tie", 4)
    assert vote.updated > vote.created
    assert history(rating) == [("skip", "changed"), (left, "changed"), (right, "changed"), ("skip", "changed")]


def test_undo_serves_the_newest_again_with_the_same_sides(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(5))
    anna = somebody(rating)
    assert rating.undo(anna) is None
    first, second = served_to(rating, anna), None
    press(rating, anna, first, "left")
    second = served_to(rating, anna)
    press(rating, anna, second, "tie")
    third = served_to(rating, anna)
    assert rating.undo(anna) == dataclasses.replace(second, choice="tie")
    assert rating.serve(anna) == second
    assert rating.undo(anna) == dataclasses.replace(first, choice="left")
    assert rating.serve(anna) == first
    assert rating.undo(anna) is None
    assert rating.ballots().votes == ()
    assert [how for _, how in history(rating)] == ["undone", "undone"]
    assert_counters_are_right(rating)
    press(rating, anna, first, "both_bad")
    assert rating.ballots().votes[0].changes == 1
    # what was waiting before comes back in turn
    assert rating.serve(anna) == second
    press(rating, anna, second, "tie")
    assert rating.serve(anna) == third


def test_names_are_revealed_after_ones_own_vote_where_allowed(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(10))
    anna = somebody(rating)
    served = served_to(rating, anna)
    assert press(rating, anna, served, "left") is None
    rating.set_rules(RatingRules("Choose.", reveal=True))
    for _ in range(9):
        served = served_to(rating, anna)
        assert press(rating, anna, served, "skip") is None  # a skip is no vote
        named = {True: "Base model", False: "Adapter .9"}
        expected = Reveal(named[served.left.startswith("yes")], named[served.right.startswith("yes")])
        assert press(rating, anna, served, "tie") == expected
    assert "Base" not in str(served) + str(served_to(rating, somebody(rating)))


def test_seconds_are_clamped_and_must_be_a_number(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(4))
    anna = somebody(rating)
    for given, kept in ((-5.0, 0.0), (1e9, 86_400.0), (math.inf, 86_400.0), (3, 3.0)):
        served = served_to(rating, anna)
        press(rating, anna, served, "left", given)
        assert rating.ballots().votes[-1].seconds == kept
    for wrong in (math.nan, None, "soon", [], 10**400):
        with pytest.raises(InputError, match="seconds is"):
            press(rating, anna, served, "right", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["", "LEFT", "1", "undo", None, 1, ["left"], {"left": 1}, "<script>", "\ud800"])
def test_an_unknown_press_is_refused(rating: RatingService, wrong: object) -> None:
    rating.add_pairs([pair()])
    anna = somebody(rating)
    with pytest.raises(InputError, match="press is"):
        press(rating, anna, served_to(rating, anna), wrong)  # type: ignore[arg-type]
    assert rating.ballots().votes == ()


def test_closed_voting(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(3))
    anna = somebody(rating)
    voted = served_to(rating, anna)
    press(rating, anna, voted, "left")
    waiting = served_to(rating, anna)
    rating.set_rules(RatingRules("", open=False))
    assert rating.serve(anna) is None
    for served, button in ((waiting, "left"), (voted, "right")):
        with pytest.raises(ConflictError, match="Voting is closed"):
            press(rating, anna, served, button)
    with pytest.raises(ConflictError, match="Voting is closed"):
        rating.undo(anna)
    rating.set_rules(RatingRules("", open=True))
    assert rating.serve(anna) == waiting
