"""Queries about thumbs on single answers."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, select

from studio.domain.data import Message
from studio.domain.votes import Thumb
from studio.store.pairs import add_chats, chat_id
from studio.store.tables import chats, thumbs
from studio.store.upsert import upsert

_MINE = (thumbs.c.rater_id == bindparam("rater"), thumbs.c.answer_id == bindparam("answer"))
_GIVEN = select(func.count()).select_from(thumbs).where(thumbs.c.rater_id == bindparam("rater"))
_KNOWN = select(thumbs.c.answer_id).where(*_MINE)
_TAKE_BACK = delete(thumbs).where(*_MINE)


def keep_thumb(connection: Connection, thumb: Thumb) -> None:
    """Store a thumb, or turn the one that this rater gave the answer before."""
    add_chats(connection, [(thumb.system_prompt, thumb.history)])
    row = {
        "rater_id": thumb.rater_id,
        "answer_id": thumb.answer_id,
        "chat_id": chat_id(thumb.system_prompt, thumb.history),
        "prompt": thumb.prompt,
        "completion": thumb.completion,
        "label": thumb.liked,
        "model": thumb.model,
        "created": thumb.created,
        "updated": thumb.created,
    }
    upsert(connection, thumbs, row, keys=("rater_id", "answer_id"), changes=("label", "updated"))


def take_back(connection: Connection, rater_id: str, answer_id: str) -> None:
    """Delete a rater's thumb on an answer."""
    connection.execute(_TAKE_BACK, {"rater": rater_id, "answer": answer_id})


def is_known(connection: Connection, rater_id: str, answer_id: str) -> bool:
    """Whether a rater has a thumb on an answer."""
    return connection.execute(_KNOWN, {"rater": rater_id, "answer": answer_id}).first() is not None


def given_by(connection: Connection, rater_id: str) -> int:
    """How many thumbs a rater gave."""
    return int(connection.execute(_GIVEN, {"rater": rater_id}).scalar_one())


def all_thumbs(connection: Connection) -> tuple[Thumb, ...]:
    """Every thumb, in the order in which they were given first."""
    query = (
        select(thumbs, chats.c.system_prompt, chats.c.history)
        .join(chats, chats.c.id == thumbs.c.chat_id)
        .order_by(thumbs.c.created, thumbs.c.answer_id, thumbs.c.rater_id)
    )
    return tuple(
        Thumb(
            rater_id=row["rater_id"],
            answer_id=row["answer_id"],
            prompt=row["prompt"],
            completion=row["completion"],
            liked=row["label"],
            model=row["model"],
            created=row["created"],
            history=tuple(Message(role, content) for role, content in row["history"]),
            system_prompt=row["system_prompt"],
        )
        for row in connection.execute(query).mappings()
    )
