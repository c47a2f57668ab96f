"""Choices that were changed or taken back: kept in the copy on the Hub, and back with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from studio.domain.votes import Ballots, PastChoice, Rater
from studio.services.rating.service import RatingService
from studio.services.votes.hub_backup import HISTORY, VoteMirror
from studio.services.votes.read_export import ImportedVotes
from studio.services.votes.restore import restore
from tests.helpers.fake_hub import FakeHub
from tests.helpers.rating import assert_counters_are_right
from tests.helpers.votes import new_pair, rated, store


def mirror_of(rating: RatingService, hub: FakeHub) -> VoteMirror:
    return VoteMirror(rating, "me/votes", "hf_secret", 3600.0, lambda token: hub)


@pytest.fixture
def hub(tmp_path: Path) -> FakeHub:
    return FakeHub(tmp_path / "hub")


def undecided(folder: Path) -> tuple[RatingService, Rater]:
    """Eve changed her mind twice on one pair, and took her vote on another back; Ada, Ben and Cäsar never did."""
    rating, _ = rated(folder)
    eve, _ = rating.register("Eve")
    first = rating.serve(eve)
    assert first is not None
    for press in ("left", "skip", "right"):
        rating.vote(eve, first.pair_id, first.token, press, 1.25)  # type: ignore[arg-type]
    second = rating.serve(eve)
    assert second is not None
    rating.vote(eve, second.pair_id, second.token, "both_bad", 0.5)
    assert rating.undo(eve) is not None
    return rating, eve


def test_a_lost_disk_comes_back_with_what_was_changed_and_taken_back(tmp_path: Path, hub: FakeHub) -> None:
    rating, eve = undecided(tmp_path / "one")
    was = rating.ballots(history=True)
    assert [past.how for past in was.history] == ["changed", "changed", "undone"]
    assert mirror_of(rating, hub).sync()
    other = store(tmp_path / "two")
    assert mirror_of(other, hub).sync()
    back = other.ballots(history=True)
    assert back.history == was.history
    assert set(back.votes) == set(was.votes)
    assert set(back.raters) == set(was.raters)
    assert_counters_are_right(other)
    # and it goes on from there: the third change is counted as the third
    (vote,) = (vote for vote in back.votes if vote.rater_id == eve.id)
    assert other.undo(eve) is not None
    served = other.serve(eve)
    assert served is not None
    other.vote(eve, served.pair_id, served.token, "tie", 1.0)
    assert [v.changes for v in other.ballots().votes if v.rater_id == eve.id] == [vote.changes + 1] == [3]


def test_a_copy_is_renewed_by_a_change_of_mind_and_brought_in_once(tmp_path: Path, hub: FakeHub) -> None:
    rating, _ = undecided(tmp_path / "one")
    assert mirror_of(rating, hub).sync()
    was = rating.ballots(history=True)
    assert mirror_of(rating, hub).sync()  # a new start over the same store: its own copy comes in
    assert rating.ballots(history=True) == was
    assert len((hub.head / HISTORY).read_text().splitlines()) == 3


def test_copies_from_before_the_history_was_kept_come_in_as_ever(tmp_path: Path, hub: FakeHub) -> None:
    rating, eve = undecided(tmp_path / "one")
    assert mirror_of(rating, hub).sync()
    (hub.head / HISTORY).unlink()
    other = store(tmp_path / "two")
    assert mirror_of(other, hub).sync()
    back = other.ballots(history=True)
    assert back.history == ()
    assert set(back.votes) == set(rating.ballots().votes)
    assert eve in back.raters


def test_a_vote_taken_back_after_the_copy_does_not_come_back(tmp_path: Path, hub: FakeHub) -> None:
    """The program was killed between the undo and the next push; the disk lasted."""
    rating, ballots = rated(tmp_path / "one")
    assert mirror_of(rating, hub).sync()
    rating.undo(ballots.raters[0])
    was = rating.ballots(history=True)
    assert mirror_of(rating, hub).sync()
    assert rating.ballots(history=True) == was
    assert_counters_are_right(rating)


def test_the_newer_copy_tells_when_a_choice_was_replaced(tmp_path: Path, hub: FakeHub) -> None:
    """The disk holds an older state than the copy: the old choice is in the history once, with the copy's times."""
    rating, _ = undecided(tmp_path / "one")
    whole = rating.ballots(history=True)
    (kept,) = [past for past in whole.history if past.choice == "skip"]
    (vote,) = [v for v in whole.votes if (v.pair_id, v.rater_id) == (kept.pair_id, kept.rater_id)]
    older = store(tmp_path / "two")
    stale = replace(vote, choice=kept.choice, updated=kept.updated, changes=1)
    restore(older, ImportedVotes("a test", Ballots(whole.pairs, (stale,), whole.raters, whole.rules)))
    assert older.ballots().votes == (stale,)
    for _ in range(2):
        restore(older, ImportedVotes("a test", whole))
        assert older.ballots(history=True).history == whole.history
        assert set(older.ballots().votes) == set(whole.votes)
    assert_counters_are_right(older)


def test_answers_the_other_way_round_turn_past_choices_too(tmp_path: Path) -> None:
    rating = store(tmp_path / "one")
    (pair_id,) = rating.add_pairs([new_pair(1)]).ids
    (pair,) = rating.ballots().pairs
    turned = replace(pair, id="x", answer_1=pair.answer_2, answer_2=pair.answer_1)
    ada = Rater("judge-0123456789abcdef", "Ada", created=1.0)
    past = tuple(
        PastChoice(place, ada.id, choice, 1, 1.0, float(n), n + 1.0, "changed")  # type: ignore[arg-type]
        for n, (place, choice) in enumerate((("x", "1"), ("x", "tie"), ("nothing", "1")))
    )
    restore(rating, ImportedVotes("a test", Ballots((turned,), (), (ada,), rating.rules(), past)))
    told = [(one.pair_id, one.choice, one.left) for one in rating.ballots(history=True).history]
    assert told == [(pair_id, "2", 2), (pair_id, "tie", 2)]


@pytest.mark.parametrize(
    ("spoilt", "sentence"),
    [
        ("{", "line 1 of the copy is broken"),
        ({"choice": "left"}, "choice"),
        ({"rater_id": "nobody"}, "no such rater"),
        ({"replaced": float("nan")}, "replaced is nan"),
        ({"how": "dropped"}, "how"),
    ],
)
def test_a_broken_history_is_not_brought_in_by_halves(
    tmp_path: Path, hub: FakeHub, spoilt: str | dict[str, object], sentence: str
) -> None:
    rating, _ = undecided(tmp_path / "one")
    assert mirror_of(rating, hub).sync()
    path = hub.head / HISTORY
    first, *more = path.read_text().splitlines()
    made = spoilt if isinstance(spoilt, str) else json.dumps({**json.loads(first), **spoilt})
    path.write_text("\n".join([made, *more]))
    fresh = store(tmp_path / "two")
    mirror = mirror_of(fresh, hub)
    assert not mirror.sync()
    assert sentence in mirror.status().problem
    assert fresh.ballots(history=True) == Ballots((), (), (), fresh.rules())
    assert len(hub.commits) == 1
