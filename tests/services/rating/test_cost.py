"""What a vote costs the database, and what is read once for all raters of a room."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event

from studio.config import Settings
from studio.errors import ConflictError
from studio.services.rating import recent
from studio.services.rating.recent import KEPT_S, Recent
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import RatingService
from tests.helpers.pairs import new_pairs
from tests.helpers.rating import press, served_to, somebody
from tests.helpers.waiting import wait_until


@contextlib.contextmanager
def asked() -> Iterator[tuple[list[str], list[str]]]:
    """The statements sent to the database, and the transactions they were in."""
    statements: list[str] = []
    transactions: list[str] = []

    def note(connection: object, cursor: object, statement: str, *more: object) -> None:
        if not statement.startswith("BEGIN"):  # SQLite's is a statement of ours
            statements.append(statement)

    def begin(connection: object) -> None:
        transactions.append("")

    event.listen(Engine, "before_cursor_execute", note)
    event.listen(Engine, "begin", begin)
    try:
        yield statements, transactions
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        event.remove(Engine, "begin", begin)


@pytest.mark.parametrize("room", ["", "Blue"])
def test_a_vote_with_its_next_pair_is_six_statements_in_one_transaction(
    rating: RatingService, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "KEPT_S", 3600.0)
    if room:
        rooms = RoomService(rating)
        rating = rooms.rating(rooms.make(room).code)
    rating.add_pairs(new_pairs(30))
    anna, ben = somebody(rating), somebody(rating, "Ben")
    for rater in (anna, ben):
        press(rating, rater, served_to(rating, rater), "left")
    for button in ("left", "right", "tie", "both_bad", "skip"):
        served = served_to(rating, anna)
        with asked() as (statements, transactions):
            saved = rating.vote(anna, served.pair_id, served.token, button, 1.0)  # type: ignore[arg-type]
        assert len(statements) == (5 if button == "skip" else 6), statements
        assert len(transactions) == 1
        assert saved.turn.served == served_to(rating, anna)
        # sent again, as a page does that got no answer
        with asked() as (statements, transactions):
            again = rating.vote(anna, served.pair_id, served.token, button, 1.0)  # type: ignore[arg-type]
        assert len(statements) <= 5, statements
        assert again.turn == saved.turn
    with asked() as (statements, transactions):
        cara, _, first = rating.join("Cara")
        assert first.served
    assert len(statements) == (4 if room else 3), statements
    assert len(transactions) == 1
    with asked() as (statements, transactions):
        assert rating.turn(cara) == first
    assert len(statements) == len(transactions) == 1
    while (served := rating.serve(cara)) is not None:
        press(rating, cara, served, "skip")
    with asked() as (statements, transactions):
        assert rating.turn(cara).served is None
    assert len(statements) == len(transactions) == 1, "whoever rated all asks again and again"


def test_rules_changed_here_hold_at_once_and_elsewhere_a_moment_later(rating: RatingService, store_url: str) -> None:
    second = RatingService(Settings(database_url=store_url))
    rating.add_pairs(new_pairs(9))
    anna, ben = somebody(rating), somebody(rating, "Ben")
    here, there = served_to(rating, anna), served_to(second, ben)
    rating.set_rules(replace(rating.rules(), open=False))
    with pytest.raises(ConflictError, match="closed"):
        press(rating, anna, here, "left")
    wait_until(lambda: second.serve(ben) is None)
    with pytest.raises(ConflictError, match="closed"):
        press(second, ben, there, "left")
    rating.set_open(True)
    assert rating.serve(anna) == here
    second.close()


def test_pairs_that_come_in_are_counted_at_once(rating: RatingService) -> None:
    anna = somebody(rating)
    assert rating.turn(anna).progress.pairs == 0
    ids = rating.add_pairs(new_pairs(3)).ids
    assert rating.turn(anna).progress.pairs == 3
    rating.retire(ids[:2], True)
    turn = rating.turn(anna)
    assert (turn.progress.pairs, turn.progress.own_total) == (1, 1)
    assert rating.vote(anna, ids[2], served_to(rating, anna).token, "left", 1.0).turn.progress.own == 1


def test_a_value_is_read_again_after_a_moment_or_a_change() -> None:
    now = [0.0]
    kept: Recent[int] = Recent(lambda: now[0])
    reads = []

    def read() -> int:
        reads.append(now[0])
        return len(reads)

    assert [kept.get("", read), kept.get("", read), kept.get("BLUE", read)] == [1, 1, 2]
    now[0] = KEPT_S
    assert [kept.get("", read), kept.get("", read)] == [3, 3]
    kept.forget()
    assert kept.get("", read) == 4

    def changed_meanwhile() -> int:
        kept.forget()
        return -1

    now[0] *= 2
    assert kept.get("", changed_meanwhile) == -1
    assert kept.get("", read) == 5


def test_while_one_reads_the_others_take_what_there_is_and_a_failure_is_not_kept() -> None:
    now = [0.0]
    kept: Recent[str] = Recent(lambda: now[0])
    assert kept.get("", lambda: "old") == "old"
    now[0] = KEPT_S
    seen = []

    def slow() -> str:
        seen.append(kept.get("", lambda: pytest.fail("two read at once")))
        return "new"

    assert kept.get("", slow) == "new"
    assert seen == ["old"]
    now[0] *= 2

    def broken() -> str:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        kept.get("", broken)
    assert kept.get("", lambda: "mended") == "mended"
