"""Queries about raters."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, bindparam, select, update

from studio.domain.votes import Rater
from studio.store.tables import raters
from studio.store.upsert import insert_new

# Built once: building a query costs more than running it.
_FIND = select(raters).where(raters.c.id == bindparam("rater"))
_FIND_LOCKED = _FIND.with_for_update(key_share=True)


def add_raters(connection: Connection, new: Sequence[Rater]) -> int:
    """Store raters whose ids are not known yet; returns how many were new."""
    rows = [{"id": r.id, "name": r.name, "verified": r.verified, "created": r.created, "votes": 0} for r in new]
    return insert_new(connection, raters, sorted(rows, key=lambda row: str(row["id"])))


def rename_rater(connection: Connection, rater_id: str, name: str) -> None:
    """Give a known rater another name."""
    connection.execute(update(raters).where(raters.c.id == rater_id).values(name=name))


def find_rater(connection: Connection, rater_id: str, *, lock: bool = False) -> Rater | None:
    """The rater of that id. ``lock`` keeps other transactions of the same rater waiting until this one ends, so that a
    double click cannot overtake itself."""
    row = connection.execute(_FIND_LOCKED if lock else _FIND, {"rater": rater_id}).mappings().one_or_none()
    return None if row is None else _rater(row)


def all_raters(connection: Connection) -> tuple[Rater, ...]:
    """Everybody, first come first."""
    rows = connection.execute(select(raters).order_by(raters.c.created, raters.c.id)).mappings()
    return tuple(_rater(row) for row in rows)


def _rater(row: RowMapping) -> Rater:
    return Rater(row["id"], row["name"], row["verified"], row["created"])
