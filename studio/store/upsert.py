"""INSERT that minds rows already there: the two databases spell it alike, SQLAlchemy wants to be told which one."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that break no key; returns how many those were."""
    return len(inserted(connection, table, rows))


def inserted(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Insert the rows that break no key; returns the keys of those."""
    if not rows:
        return []
    # Told by what comes back: an INSERT's rowcount is not told by every driver. SQLAlchemy sends as many rows at a time
    # as the database takes; a statement with the rows written into it was compiled anew each time, four times slower.
    done = connection.execute(_insert_new(connection.dialect.name, table), [dict(row) for row in rows])
    return [tuple(row) for row in done]


def upsert(
    connection: Connection, table: Table, row: Mapping[str, Any], *, keys: tuple[str, ...], changes: tuple[str, ...]
) -> None:
    """Insert a row, or where one with the same ``keys`` is there, set ``changes`` of it."""
    connection.execute(_upsert(connection.dialect.name, table, keys, changes), dict(row))


@functools.cache
def _insert_new(dialect: str, table: Table) -> Any:
    return _insert(dialect, table).on_conflict_do_nothing().returning(*table.primary_key.columns)


@functools.cache
def _upsert(dialect: str, table: Table, keys: tuple[str, ...], changes: tuple[str, ...]) -> Any:
    query = _insert(dialect, table)
    return query.on_conflict_do_update(index_elements=list(keys), set_={name: query.excluded[name] for name in changes})


def _insert(dialect: str, table: Table) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)
