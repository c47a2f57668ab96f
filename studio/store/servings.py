"""Queries about servings: the pair that waits for a rater's vote, and the next one to serve. The hot path of rating: every
query is built once, walks along an index, and answers all that is asked at that moment."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    Boolean,
    Connection,
    Double,
    SmallInteger,
    String,
    bindparam,
    exists,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite

from studio.domain.votes import AnswerPair
from studio.store.pairs import one_pair, pair_of, with_chat
from studio.store.tables import chats, pairs, raters, servings, votes
from studio.store.votes import OWN

#: Pairs looked at on either side of a place in the shuffled order, of each number of votes.
NEAR = 4
#: Seconds for which a pair before a rater counts as one that gets their vote.
PATIENCE_S = 120.0
_RATER: Any = bindparam("rater")
_ROOM: Any = bindparam("room")


def _waiting(*more: Any) -> Any:
    """The pair served last to a rater that may still be voted on."""
    return (
        select(servings.c.pair_id)
        .join(pairs, pairs.c.id == servings.c.pair_id)
        .where(servings.c.rater_id == _RATER, servings.c.open.is_(True), *more)
        .where(pairs.c.retired.is_(False), pairs.c.room == _ROOM)
        .order_by(servings.c.last_served.desc())
        .limit(1)
        .correlate(None)
        .scalar_subquery()
    )


_DESK = (
    select(OWN.label("own"), pairs, chats.c.system_prompt, chats.c.history)
    .select_from(raters.outerjoin(pairs, pairs.c.id == _waiting()).outerjoin(chats, chats.c.id == pairs.c.chat_id))
    .where(raters.c.id == _RATER, raters.c.room == _ROOM)
)


def _unrated(calibration: Any) -> tuple[Any, ...]:
    return (
        pairs.c.room == _ROOM,
        pairs.c.retired.is_(False),
        pairs.c.calibration == calibration,
        ~exists().where(votes.c.pair_id == pairs.c.id, votes.c.rater_id == _RATER),
    )


def _next() -> Any:
    """The pair whose turn it is, in one query: where none waits, two walks find the fewest votes, four more what is near the place in
    the shuffled order, of that many votes and of one more."""

    def all_of(queries: list[Any]) -> Any:
        # each in a query of its own: SQLite takes LIMIT only around a whole UNION
        return union_all(*(select(query.subquery()) for query in queries)).subquery()

    firsts = all_of(
        [
            select(literal(place).label("place"), pairs.c.calibration, pairs.c.votes)
            .where(*_unrated(calibration))
            .order_by(pairs.c.votes, pairs.c.shuffle)
            .limit(1)
            for place, calibration in enumerate((True, False))
        ]
    )
    turn = select(firsts).order_by(firsts.c.place).limit(1).cte("turn")
    start: Any = bindparam("start")
    kind = _unrated(select(turn.c.calibration).scalar_subquery())
    near = all_of(
        [
            select(literal(place).label("place"), pairs.c.id, pairs.c.votes, pairs.c.shuffle)
            .where(*kind, pairs.c.votes == select(turn.c.votes + more).scalar_subquery(), side)
            .order_by(pairs.c.shuffle)
            .limit(NEAR)
            for more in (0, 1)
            for place, side in enumerate((pairs.c.shuffle >= start, pairs.c.shuffle < start))
        ]
    )
    before_raters = (
        select(func.count())
        .select_from(servings)
        .where(servings.c.pair_id == near.c.id, servings.c.open.is_(True), servings.c.last_served > bindparam("since"))
        .scalar_subquery()
    )
    in_turn = (
        select(near.c.id).order_by(near.c.votes + before_raters, near.c.votes, near.c.place, near.c.shuffle).limit(1)
    )
    waiting = _waiting(servings.c.pair_id != bindparam("after"))
    return with_chat().where(pairs.c.id == func.coalesce(waiting, in_turn.scalar_subquery()))


_NEXT = _next()


@dataclass(frozen=True)
class Desk:
    """What lies before a rater: the pair that waits for their vote, and how many of the pairs still served they rated."""

    waiting: AnswerPair | None
    own: int


@dataclass(frozen=True)
class Serving:
    """A pair served to a rater with the answer ``left`` (1 or 2) on the left; ``open`` while it waits for their vote."""

    pair_id: str
    left: Literal[1, 2]
    open: bool


def desk(connection: Connection, room: str, rater_id: str) -> Desk | None:
    """What lies before a rater of a room; None where the room has no such rater."""
    row = connection.execute(_DESK, {"room": room, "rater": rater_id}).mappings().one_or_none()
    return None if row is None else Desk(None if row["id"] is None else pair_of(row), row["own"])


def next_pair(
    connection: Connection, room: str, rater_id: str, after: str, start: int, now: float
) -> AnswerPair | None:
    """The pair this rater should see in the room after the one of the id ``after`` (empty: none): one that waits for their vote;
    else of its calibration pairs, then of the others, one with the fewest votes among those they have no vote on. Raters before
    whom a pair has lain for less than :data:`PATIENCE_S` count as votes, so that a hall does not gather on the same few; where several
    have equally few, it is the next one from ``start`` (0 to ``pairs.SHUFFLE_RANGE``) on in the shuffled order. Looked at are the
    pairs near there, of the fewest votes and of one more; each walk passes at most the rater's own votes."""
    return one_pair(connection, _NEXT, room=room, rater=rater_id, after=after, start=start, since=now - PATIENCE_S)


def record_servings(connection: Connection, rater_id: str, served: Sequence[Serving], now: float) -> None:
    """Remember which pairs wait for a rater's vote from now on, and which do so no more."""
    if not served:
        return
    given: dict[str, object] = {"rater": rater_id, "now": now}
    for number, one in enumerate(served):
        given |= {f"pair_{number}": one.pair_id, f"left_{number}": one.left, f"open_{number}": one.open}
    connection.execute(_upsert(connection.dialect.name, len(served)), given)


@functools.cache
def _upsert(dialect: str, rows: int) -> Any:
    """INSERT ... SELECT: SQLAlchemy would compile several rows of VALUES anew each time."""
    now = bindparam("now", type_=Double)
    served = [
        select(
            bindparam("rater", type_=String),
            bindparam(f"pair_{number}", type_=String),
            bindparam(f"left_{number}", type_=SmallInteger),
            now,
            now,
            bindparam(f"open_{number}", type_=Boolean),
        ).where(true())
        for number in range(rows)
    ]
    query = (postgresql if dialect == "postgresql" else sqlite).insert(servings)
    query = query.from_select([column.name for column in servings.c], union_all(*served) if rows > 1 else served[0])
    return query.on_conflict_do_update(
        index_elements=["rater_id", "pair_id"],
        set_={name: query.excluded[name] for name in ("last_served", "open")},
    )
