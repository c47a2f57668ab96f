"""INSERT that minds rows already there: the two databases spell it alike, SQLAlchemy wants to be told which one."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

#: Rows of one statement.
_CHUNK = 500


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that break no key; returns how many those were."""
    added = 0
    for at in range(0, len(rows), _CHUNK):
        chunk = list(rows[at : at + _CHUNK])
        query = _insert(connection.dialect.name, table).values(chunk).on_conflict_do_nothing()
        # Counted by what comes back: an INSERT's rowcount is not told by every driver.
        added += len(connection.execute(query.returning(*table.primary_key.columns)).all())
    return added


def upsert(
    connection: Connection, table: Table, row: Mapping[str, Any], *, keys: tuple[str, ...], changes: tuple[str, ...]
) -> None:
    """Insert a row, or where one with the same ``keys`` is there, set ``changes`` of it."""
    connection.execute(_upsert(connection.dialect.name, table, keys, changes), dict(row))


@functools.cache
def _upsert(dialect: str, table: Table, keys: tuple[str, ...], changes: tuple[str, ...]) -> Any:
    query = _insert(dialect, table)
    return query.on_conflict_do_update(index_elements=list(keys), set_={name: query.excluded[name] for name in changes})


def _insert(dialect: str, table: Table) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)
