"""Queries about results of votes that are kept. What a result holds is the services' business: here it is text."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select, update

from studio.domain.votes import KeptHead
from studio.store.tables import kept_votes

_HEAD = (kept_votes.c.id, kept_votes.c.title, kept_votes.c.created, kept_votes.c.votes)


def add(connection: Connection, head: KeptHead, body: str) -> None:
    """Keep a result."""
    connection.execute(insert(kept_votes), {**asdict(head), "body": body})


def heads(connection: Connection) -> tuple[KeptHead, ...]:
    """All of them, newest first."""
    rows = connection.execute(select(*_HEAD).order_by(kept_votes.c.created.desc(), kept_votes.c.id))
    return tuple(KeptHead(*row) for row in rows)


def find(connection: Connection, kept_id: str) -> tuple[KeptHead, str] | None:
    """The result of that id and what it holds."""
    row = connection.execute(select(*_HEAD, kept_votes.c.body).where(kept_votes.c.id == kept_id)).one_or_none()
    return None if row is None else (KeptHead(*row[:4]), row[4])


def rename(connection: Connection, kept_id: str, title: str) -> bool:
    """Give it another title; returns whether it is there."""
    return connection.execute(update(kept_votes).where(kept_votes.c.id == kept_id).values(title=title)).rowcount > 0


def remove(connection: Connection, kept_id: str) -> None:
    """Forget it."""
    connection.execute(delete(kept_votes).where(kept_votes.c.id == kept_id))
