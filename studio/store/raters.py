"""Queries about raters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, Integer, RowMapping, bindparam, select, update

from studio.domain.votes import Rater
from studio.store.tables import raters
from studio.store.upsert import insert_new

# Built once: building a query costs more than running it.
_FIND = select(raters).where(raters.c.id == bindparam("rater"))
_FIND_LOCKED = _FIND.with_for_update(key_share=True)
_COUNT = (
    update(raters)
    .where(raters.c.id == bindparam("rater"), raters.c.room == bindparam("in_room"))
    .values(votes=raters.c.votes + bindparam("by", type_=Integer))
    .returning(raters.c.id)
)


def add_raters(connection: Connection, room: str, new: Sequence[Rater]) -> int:
    """Store raters of a room whose ids are not known yet; returns how many were new."""
    rows = [{**asdict(rater), "votes": 0, "room": room} for rater in new]
    return insert_new(connection, raters, sorted(rows, key=lambda row: str(row["id"])))


def rename_rater(connection: Connection, rater_id: str, name: str) -> None:
    """Give a known rater another name."""
    connection.execute(update(raters).where(raters.c.id == rater_id).values(name=name))


def find_rater(connection: Connection, rater_id: str, *, room: str | None = None, lock: bool = False) -> Rater | None:
    """The rater of that id, in that room where one is named. ``lock`` keeps other transactions of the same rater waiting until this one ends, so that a
    double click cannot overtake itself."""
    row = connection.execute(_FIND_LOCKED if lock else _FIND, {"rater": rater_id}).mappings().one_or_none()
    return None if row is None or (room is not None and row["room"] != room) else _rater(row)


def count_and_lock(connection: Connection, room: str, rater_id: str, by: int) -> bool:
    """Add ``by`` to a rater's number of votes that are no skip, and keep other transactions of the same rater waiting until this one
    ends, as :func:`find_rater` does; returns whether the room has such a rater."""
    return connection.execute(_COUNT, {"rater": rater_id, "in_room": room, "by": by}).first() is not None


def all_raters(connection: Connection, room: str) -> tuple[Rater, ...]:
    """Everybody in a room, first come first."""
    query = select(raters).where(raters.c.room == room).order_by(raters.c.created, raters.c.id)
    return tuple(_rater(row) for row in connection.execute(query).mappings())


def of_other_rooms(connection: Connection, room: str, rater_ids: Iterable[str]) -> frozenset[str]:
    """Those of the ids that a rater of another room has."""
    wanted = set(rater_ids)
    ids = connection.execute(select(raters.c.id).where(raters.c.room != room)).scalars()
    return frozenset(rater_id for rater_id in ids if rater_id in wanted)


def _rater(row: RowMapping) -> Rater:
    return Rater(row["id"], row["name"], row["verified"], row["created"])
