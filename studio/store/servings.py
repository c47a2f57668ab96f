"""Queries about servings: the pair that waits for a rater's vote, and the next one to serve. The hot path of rating: every
query is built once, and walks along an index."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, bindparam, exists, select, update

from studio.domain.votes import AnswerPair
from studio.store.pairs import one_pair, with_chat
from studio.store.tables import pairs, servings, votes
from studio.store.upsert import upsert

_WAITING = (
    with_chat()
    .join(servings, servings.c.pair_id == pairs.c.id)
    .where(
        servings.c.rater_id == bindparam("rater"),
        servings.c.open.is_(True),
        pairs.c.retired.is_(False),
        pairs.c.room == bindparam("room"),
    )
    .order_by(servings.c.last_served.desc())
    .limit(1)
)
_IS_WAITING = _WAITING.with_only_columns(pairs.c.id)
_UNRATED = (
    pairs.c.room == bindparam("room"),
    pairs.c.retired.is_(False),
    pairs.c.calibration == bindparam("calibration"),
    ~exists().where(votes.c.pair_id == pairs.c.id, votes.c.rater_id == bindparam("rater")),
)
_FEWEST = select(pairs.c.id, pairs.c.votes).where(*_UNRATED).order_by(pairs.c.votes, pairs.c.shuffle).limit(1)
_AS_FEW = select(pairs.c.id).where(*_UNRATED, pairs.c.votes == bindparam("fewest")).order_by(pairs.c.shuffle).limit(1)
_AFTER = _AS_FEW.where(pairs.c.shuffle >= bindparam("start"))
_BEFORE = _AS_FEW.where(pairs.c.shuffle < bindparam("start"))
_CLOSE = (
    update(servings)
    .where(servings.c.rater_id == bindparam("rater"), servings.c.pair_id == bindparam("pair"))
    .values(open=False)
)


def waiting_pair(connection: Connection, room: str, rater_id: str) -> AnswerPair | None:
    """The pair of a room served last to this rater that waits for their vote, if it may still be voted on."""
    return one_pair(connection, _WAITING, room=room, rater=rater_id)


def is_waiting(connection: Connection, room: str, rater_id: str) -> bool:
    """Whether a pair of a room waits for this rater's vote."""
    return connection.execute(_IS_WAITING, {"room": room, "rater": rater_id}).first() is not None


def next_pair(connection: Connection, room: str, rater_id: str, start: int) -> str | None:
    """The id of the pair this rater should see next in the room: of its calibration pairs, then of the others, one with the fewest
    votes among those they have no vote on; where several have equally few, the next one from ``start`` (0 to
    ``pairs.SHUFFLE_RANGE``) on in the shuffled order. Each query passes at most the rater's own votes."""
    for calibration in (True, False):
        given = {"room": room, "rater": rater_id, "calibration": calibration}
        fewest = connection.execute(_FEWEST, given).one_or_none()
        if fewest is None:
            continue
        for query in (_AFTER, _BEFORE):
            found: str | None = connection.execute(
                query, {**given, "fewest": fewest.votes, "start": start}
            ).scalar_one_or_none()
            if found is not None:
                return found
        # Others voted on all of these just now (PostgreSQL sees that between two queries); the first found is as good.
        return str(fewest.id)
    return None


def record_serving(connection: Connection, rater_id: str, pair_id: str, left: Literal[1, 2], now: float) -> None:
    """Remember that a pair was served, and waits for the rater's vote."""
    row = {
        "rater_id": rater_id,
        "pair_id": pair_id,
        "left_answer": left,
        "first_served": now,
        "last_served": now,
        "open": True,
    }
    upsert(connection, servings, row, keys=("rater_id", "pair_id"), changes=("last_served", "open"))


def close_serving(connection: Connection, rater_id: str, pair_id: str) -> None:
    """Remember that the pair waits for this rater's vote no more."""
    connection.execute(_CLOSE, {"rater": rater_id, "pair": pair_id})
