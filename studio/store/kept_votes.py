"""Queries about results of votes that are kept. What a result holds is the services' business: here it is text."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select, update

from studio.domain.votes import KeptHead
from studio.store.tables import kept_votes

_HEAD = (kept_votes.c.id, kept_votes.c.title, kept_votes.c.created, kept_votes.c.votes, kept_votes.c.room)


def add(connection: Connection, head: KeptHead, body: str) -> None:
    """Keep a result."""
    connection.execute(insert(kept_votes), {**asdict(head), "body": body})


def heads(connection: Connection, room: str) -> tuple[KeptHead, ...]:
    """All of a room, newest first."""
    query = select(*_HEAD).where(kept_votes.c.room == room).order_by(kept_votes.c.created.desc(), kept_votes.c.id)
    rows = connection.execute(query)
    return tuple(KeptHead(*row) for row in rows)


def whole(connection: Connection, room: str) -> tuple[tuple[KeptHead, str], ...]:
    """All of a room with what they hold, the oldest first."""
    query = (
        select(*_HEAD, kept_votes.c.body)
        .where(kept_votes.c.room == room)
        .order_by(kept_votes.c.created, kept_votes.c.id)
    )
    return tuple((KeptHead(*head), body) for *head, body in connection.execute(query))


def find(connection: Connection, kept_id: str) -> tuple[KeptHead, str] | None:
    """The result of that id and what it holds."""
    row = connection.execute(select(*_HEAD, kept_votes.c.body).where(kept_votes.c.id == kept_id)).one_or_none()
    return None if row is None else (KeptHead(*row[:-1]), row[-1])


def rename(connection: Connection, kept_id: str, title: str) -> bool:
    """Give it another title; returns whether it is there."""
    return connection.execute(update(kept_votes).where(kept_votes.c.id == kept_id).values(title=title)).rowcount > 0


def remove(connection: Connection, kept_id: str) -> None:
    """Forget it."""
    connection.execute(delete(kept_votes).where(kept_votes.c.id == kept_id))
