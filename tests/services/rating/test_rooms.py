"""Rooms: votes side by side on one store, of which none is ever counted in another."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from studio.errors import ConflictError, InputError, NotAllowedError, NotFoundError
from studio.services.rating.rooms import FIRST, MAX_NAME, RoomService
from studio.services.rating.service import RatingService
from studio.services.votes.export import export_votes
from studio.services.votes.hub_backup import VoteMirror
from studio.services.votes.kept import keep_votes, kept_heads
from studio.services.votes.read_export import read_votes
from studio.services.votes.restore import restore
from studio.store import servings, tables
from tests.helpers.fake_hub import FakeHub
from tests.helpers.rating import assert_counters_are_right, pair, press, served_to, somebody
from tests.helpers.votes import store


@pytest.fixture
def rooms(rating: RatingService) -> RoomService:
    return RoomService(rating)


def room_of(rooms: RoomService, name: str, pairs: int = 3) -> RatingService:
    """A new room's vote, with the same pairs as every other."""
    made = rooms.rating(rooms.make(name).code)
    made.add_pairs(pair(f"Question {number}?") for number in range(pairs))
    return made


def test_a_vote_in_one_room_is_counted_in_no_other(rating: RatingService, rooms: RoomService) -> None:
    rating.add_pairs(pair(f"Question {number}?") for number in range(3))
    blue, green = room_of(rooms, "Blue"), room_of(rooms, "Green")
    anna, ben = somebody(blue, "Anna"), somebody(green, "Ben")
    press(blue, anna, served_to(blue, anna), "left")
    press(blue, anna, served_to(blue, anna), "left")
    press(green, ben, served_to(green, ben), "right")
    assert [(one.progress(None).votes, one.progress(None).raters) for one in (rating, blue, green)] == [
        (0, 0),
        (2, 1),
        (1, 1),
    ]
    assert [len(one.ballots().votes) for one in (rating, blue, green)] == [0, 2, 1]
    assert [[rater.name for rater in one.ballots().raters] for one in (rating, blue, green)] == [[], ["Anna"], ["Ben"]]
    assert {p.prompt for p in blue.ballots().pairs} == {p.prompt for p in green.ballots().pairs}
    assert not {p.id for p in blue.ballots().pairs} & {p.id for p in green.ballots().pairs}
    assert len(rooms.ballots()) == 3
    for one in (blue, green):
        keep_votes(one)
    assert [len(kept_heads(one)) for one in (rating, blue, green)] == [0, 1, 1]


def test_a_rater_of_one_room_is_nobody_in_another(rating: RatingService, rooms: RoomService) -> None:
    blue, green = room_of(rooms, "Blue"), room_of(rooms, "Green")
    anna, token = blue.register("Anna")
    served = served_to(blue, anna)
    for elsewhere in (green, rating):
        with pytest.raises(NotAllowedError):
            elsewhere.rater(token)
        with pytest.raises(NotAllowedError):
            elsewhere.serve(elsewhere.signed(token))
        with pytest.raises(NotAllowedError):
            press(elsewhere, anna, served, "left")
    assert blue.progress(None).votes == green.progress(None).votes == 0
    # a Hugging Face account takes part in each as another rater
    assert len({one.register("eve", verified_id="eve")[0].id for one in (rating, blue, green)}) == 3
    assert blue.register("eve", verified_id="eve")[0].id == blue.register("Eve", verified_id="eve")[0].id


def test_the_fewest_votes_come_first_within_a_room(rooms: RoomService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servings, "PATIENCE_S", 0.0)  # each leaves with a pair before them
    blue, green = room_of(rooms, "Blue", 4), room_of(rooms, "Green", 4)
    for number in range(6):  # the other room has votes on the same texts, which say nothing here
        rater = somebody(blue, f"B{number}")
        press(blue, rater, served_to(blue, rater), "left")
    for number in range(8):
        rater = somebody(green, f"G{number}")
        press(green, rater, served_to(green, rater), "left")
        spread = Counter(vote.pair_id for vote in green.ballots().votes)
        assert max(spread.values()) - min(spread.get(p.id, 0) for p in green.ballots().pairs) <= 1
    assert_counters_are_right(green)


def test_each_room_has_its_own_rules(rating: RatingService, rooms: RoomService) -> None:
    rating.set_rules(replace(rating.rules(), guidelines="Be kind.", min_votes=5, open=False))
    blue = rooms.rating(rooms.make("Blue").code)
    assert (blue.rules().guidelines, blue.rules().min_votes, blue.rules().open) == ("Be kind.", 5, True)
    blue.add_pairs([pair()])
    blue.set_rules(replace(blue.rules(), min_votes=1, ties=False))
    anna = somebody(blue)
    served = served_to(blue, anna)
    with pytest.raises(ConflictError, match="one of the two answers"):
        press(blue, anna, served, "tie")
    press(blue, anna, served, "left")
    assert [decision.winner is not None for decision in blue.decisions()] == [True]
    assert (rating.rules().min_votes, rating.rules().ties) == (5, True)


def test_a_vote_closes_at_the_moment_that_was_set(
    rating: RatingService, rooms: RoomService, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("studio.services.rating.service.time.time", lambda: now)
    blue, green = room_of(rooms, "Blue"), room_of(rooms, "Green")
    blue.set_open(True, closes=now + 60)
    anna = somebody(blue)
    first = served_to(blue, anna)
    now += 59
    press(blue, anna, first, "left")
    second = served_to(blue, anna)
    now += 1
    with pytest.raises(ConflictError, match="Voting is closed"):
        press(blue, anna, second, "left")
    assert not blue.rules().open
    assert green.rules().open
    assert rating.rules().open
    blue.set_open(True)
    press(blue, anna, served_to(blue, anna), "left")


def test_rooms_are_listed_renamed_and_found_by_a_code_as_people_type_it(rooms: RoomService) -> None:
    blue, green = rooms.make("  Blue   hall "), rooms.make("Green")
    assert [room.name for room in rooms.list()] == ["Main room", "Blue hall", "Green"]
    rooms.rename(blue.code, "Red")
    assert rooms.find(f" {blue.code.lower()} ").name == "Red"
    assert rooms.find("") == FIRST
    assert rooms.rating(blue.code.lower()).rules().open
    for name, says in (
        ("red", "another room has"),
        ("main room", "another room has"),
        (" ", "empty"),
        ("x" * 61, str(MAX_NAME)),
    ):
        with pytest.raises(InputError, match=says):
            rooms.make(name)
        with pytest.raises(InputError, match=says):
            rooms.rename(green.code, name)
    for act in (lambda: rooms.rename("", "First"), lambda: rooms.delete("")):
        with pytest.raises(InputError, match="always there"):
            act()


@pytest.mark.parametrize("code", ["ZZZZ", "nope", "'; --", "A" * 5000, "AB CD"])
def test_an_unknown_code_is_refused_in_one_sentence(rooms: RoomService, code: str) -> None:
    for act in (
        lambda: rooms.find(code),
        lambda: rooms.rating(code).rules(),
        lambda: rooms.rating(code).register("Anna"),
        lambda: rooms.rating(code).add_pairs([pair()]),
        lambda: rooms.rating(code).ballots(),
        lambda: rooms.rename(code, "Name"),
        lambda: rooms.delete(code),
    ):
        with pytest.raises(NotFoundError, match="There is no room") as refused:
            act()
        assert len(str(refused.value)) < 120


def test_a_deleted_room_leaves_nothing_and_the_others_everything(rating: RatingService, rooms: RoomService) -> None:
    blue, green = room_of(rooms, "Blue"), room_of(rooms, "Green")
    raters = {}
    for one in (blue, green):
        raters[one.room] = rater = somebody(one)
        press(one, rater, served_to(one, rater), "left")
        one.undo(rater)
        press(one, rater, served_to(one, rater), "right")
        keep_votes(one)
    left = green.ballots(history=True)
    rooms.delete(blue.room)
    assert green.ballots(history=True) == left
    assert len(kept_heads(green)) == 1
    with rating.store().read() as connection:
        for table in (
            tables.pairs,
            tables.raters,
            tables.votes,
            tables.servings,
            tables.kept_votes,
            tables.vote_history,
        ):
            everything = connection.execute(select(table)).mappings().all()
            assert all(row.get("room", green.room) == green.room for row in everything)
            assert everything
        assert len(connection.execute(select(tables.votes)).all()) == 1
    with pytest.raises(NotFoundError):
        blue.register("Anna")


def test_a_room_deleted_while_people_vote_keeps_nothing_of_them(rating: RatingService, rooms: RoomService) -> None:
    blue = room_of(rooms, "Blue", 20)

    def rate(number: int) -> int:
        saved = 0
        try:
            rater = somebody(blue, f"R{number}")
            while served := blue.serve(rater):
                press(blue, rater, served, "left")
                saved += 1
                if saved == 3 and number == 0:
                    rooms.delete(blue.room)
        except (NotFoundError, NotAllowedError):
            pass
        return saved

    with ThreadPoolExecutor(6) as pool:
        assert next(iter(pool.map(rate, range(6)))) == 3
    with rating.store().read() as connection:
        for table in (tables.pairs, tables.raters, tables.votes, tables.servings):
            assert connection.execute(select(table)).all() == []


def test_an_export_of_one_room_comes_into_another_as_its_own(
    rating: RatingService, rooms: RoomService, tmp_path: Path
) -> None:
    blue = room_of(rooms, "Blue")
    anna = somebody(blue)
    while served := blue.serve(anna):
        press(blue, anna, served, "left")
    export_votes(blue.ballots(), tmp_path / "out")
    brought = read_votes(tmp_path / "out", 10_000_000)
    targets = [rooms.rating(rooms.make(name).code) for name in ("Green", "Red")]
    for target in (*targets, *targets, rating, blue):
        restore(target, brought)
    for target in (*targets, rating, blue):
        assert len(target.ballots().votes) == len(target.ballots().pairs) == 3
        assert len(target.ballots().raters) == 1
        assert_counters_are_right(target)
    assert len({target.ballots().raters[0].id for target in (*targets, rating, blue)}) == 4


def test_the_copy_on_the_hub_holds_every_room(tmp_path: Path) -> None:
    first, hub = store(tmp_path / "one"), FakeHub(tmp_path / "hub")
    rooms = RoomService(first)
    blue, gone, empty = room_of(rooms, "Blue"), room_of(rooms, "Gone"), rooms.make("Empty")
    anna, token = blue.register("Anna")
    press(blue, anna, served_to(blue, anna), "left")
    blue.set_rules(replace(blue.rules(), min_votes=7))
    mirror = VoteMirror(first, "me/votes", "hf_secret", 3600.0, lambda _token: hub)
    assert mirror.status().pending == 1
    assert mirror.sync(), mirror.status().problem
    assert mirror.status().pending == 0
    rooms.delete(gone.room)
    assert mirror.sync(), mirror.status().problem
    other = store(tmp_path / "two")
    copy = VoteMirror(other, "me/votes", "hf_secret", 3600.0, lambda _token: hub)
    assert copy.sync(), copy.status().problem
    back = RoomService(other)
    assert {(room.code, room.name) for room in back.list()} == {
        ("", "Main room"),
        (blue.room, "Blue"),
        (empty.code, "Empty"),
    }
    again = back.rating(blue.room)
    assert again.ballots() == blue.ballots()
    assert again.rater(token).id == anna.id
    assert other.ballots().votes == ()
