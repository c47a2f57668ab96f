"""Queries about rooms. The first one, whose code is empty, has no row: it is always there, and its rules are a row of ``settings``."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from studio.domain.votes import RatingRules, Room
from studio.store.tables import kept_votes, pairs, raters, rooms, servings, thumbs, vote_history, votes

_HEAD = (rooms.c.code, rooms.c.name, rooms.c.created)


def add_room(connection: Connection, room: Room, rules: RatingRules) -> None:
    """Make a room. The caller has seen to it that its code is free."""
    connection.execute(insert(rooms), {**asdict(room), "rules": asdict(rules)})


def all_rooms(connection: Connection) -> tuple[Room, ...]:
    """All but the first, oldest first."""
    rows = connection.execute(select(*_HEAD).order_by(rooms.c.created, rooms.c.code))
    return tuple(Room(*row) for row in rows)


def find_room(connection: Connection, code: str, *, hold: bool = False) -> Room | None:
    """The room of that code. ``hold`` keeps others from deleting it until this transaction ends."""
    query = select(*_HEAD).where(rooms.c.code == code)
    row = connection.execute(query.with_for_update(read=True, key_share=True) if hold else query).one_or_none()
    return None if row is None else Room(*row)


def standings(connection: Connection) -> Hashable:
    """Which rooms there are and how far their votes are: equal while nothing happens in any."""
    counted = select(
        pairs.c.room, func.count(), func.count().filter(pairs.c.retired.is_(False)), func.sum(pairs.c.votes)
    )
    queries = (
        counted.group_by(pairs.c.room).order_by(pairs.c.room),
        select(raters.c.room, func.count()).where(raters.c.votes > 0).group_by(raters.c.room).order_by(raters.c.room),
        select(*_HEAD).order_by(rooms.c.code),
    )
    return tuple(tuple(map(tuple, connection.execute(query))) for query in queries)


def rename_room(connection: Connection, code: str, name: str) -> bool:
    """Give it another name; returns whether it is there."""
    return connection.execute(update(rooms).where(rooms.c.code == code).values(name=name)).rowcount > 0


def remove_room(connection: Connection, code: str) -> bool:
    """Delete a room with its pairs, raters, votes, thumbs and kept results; returns whether it was there. Not for the first."""
    # in this order no other transaction can bring anything new: whoever adds pairs or raters holds the room, whoever votes the rater
    if not connection.execute(delete(rooms).where(rooms.c.code == code)).rowcount:
        return False
    people = select(raters.c.id).where(raters.c.room == code)
    connection.execute(people.order_by(raters.c.id).with_for_update()).all()
    rated: Any = select(pairs.c.id).where(pairs.c.room == code)
    for table in (votes, servings, vote_history):
        connection.execute(delete(table).where(table.c.pair_id.in_(rated)))
    connection.execute(delete(thumbs).where(thumbs.c.rater_id.in_(people)))
    for table in (pairs, raters, kept_votes):
        connection.execute(delete(table).where(table.c.room == code))
    return True
