"""Queries about pairs: storing them, finding the next one for a rater, and what was served."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, select, update

from studio.domain.data import Message
from studio.domain.votes import AnswerPair, Origin, PairSource
from studio.store.tables import chats, pairs
from studio.store.upsert import insert_new, inserted

#: Ids of one IN list: far below the parameter limits of both databases.
_CHUNK = 500
#: ``shuffle`` is at least 0 and below this.
SHUFFLE_RANGE = 1 << 28


def add_pairs(connection: Connection, room: str, new: Sequence[AnswerPair]) -> frozenset[str]:
    """Store pairs of a room whose ids are not known yet; returns the ids that were new."""
    add_chats(connection, [(pair.system_prompt, pair.history) for pair in new])
    known = known_ids(connection, room, [pair.id for pair in new])
    rows = {
        pair.id: {
            "id": pair.id,
            "chat_id": chat_id(pair.system_prompt, pair.history),
            "prompt": pair.prompt,
            "answer_1": pair.answer_1,
            "answer_2": pair.answer_2,
            "origin_1": dataclasses.asdict(pair.origin_1),
            "origin_2": dataclasses.asdict(pair.origin_2),
            "source": pair.source,
            "preferred": pair.preferred,
            "created": pair.created,
            "place": place,
            "calibration": pair.calibration,
            "retired": pair.retired,
            "votes": 0,
            "shuffle": int(hashlib.sha256(pair.id.encode()).hexdigest()[:7], 16),
            "room": room,
        }
        for place, pair in enumerate(new)
        if pair.id not in known
    }
    # What another server adds at this moment is known, too: only the database can tell.
    return frozenset(key for (key,) in inserted(connection, pairs, [rows[key] for key in sorted(rows)]))


def add_chats(connection: Connection, said: Iterable[tuple[str, tuple[Message, ...]]]) -> None:
    """Store what was said before questions (system prompt, turns), each once."""
    rows = {
        chat_id(system, turns): {"id": chat_id(system, turns), "system_prompt": system, "history": _turns(turns)}
        for system, turns in said
    }
    # Sorted by id: two processes that add the same ones in another order would wait for each other for ever.
    insert_new(connection, chats, [row for _, row in sorted(rows.items())])


def find_pair(connection: Connection, pair_id: str) -> AnswerPair | None:
    """The pair of that id."""
    return one_pair(connection, with_chat().where(pairs.c.id == pair_id))


def known_ids(connection: Connection, room: str, pair_ids: Sequence[str]) -> frozenset[str]:
    """Those of the ids that are of a pair of the room."""
    known: set[str] = set()
    for chunk in _chunks(pair_ids):
        query = select(pairs.c.id).where(pairs.c.id.in_(chunk), pairs.c.room == room)
        known.update(connection.execute(query).scalars())
    return frozenset(known)


def all_pairs(connection: Connection, room: str) -> tuple[AnswerPair, ...]:
    """Every pair of a room, in the order they came."""
    query = with_chat().where(pairs.c.room == room).order_by(pairs.c.created, pairs.c.place, pairs.c.id)
    rows = connection.execute(query).mappings()
    return tuple(pair_of(row) for row in rows)


def mark_pairs(connection: Connection, pair_ids: Iterable[str], **marks: bool) -> int:
    """Set ``calibration`` or ``retired`` of pairs; returns how many of the ids exist."""
    changed = 0
    for chunk in _chunks(sorted(set(pair_ids))):
        changed += connection.execute(update(pairs).where(pairs.c.id.in_(chunk)).values(**marks)).rowcount
    return changed


def count_by_source(connection: Connection, room: str) -> dict[PairSource, int]:
    """How many pairs of a room came from where, retired ones too."""
    query = select(pairs.c.source, func.count()).where(pairs.c.room == room).group_by(pairs.c.source)
    rows = connection.execute(query)
    return {row[0]: row[1] for row in rows}


def with_chat() -> Select[Any]:
    """The query of all pairs with what was said before; narrow it, then read it with :func:`one_pair`."""
    return select(pairs, chats.c.system_prompt, chats.c.history).join(chats, chats.c.id == pairs.c.chat_id)


def one_pair(connection: Connection, query: Select[Any], **given: object) -> AnswerPair | None:
    """The pair a query made of :func:`with_chat` finds, if any."""
    row = connection.execute(query, given).mappings().one_or_none()
    return None if row is None else pair_of(row)


def pair_of(row: RowMapping) -> AnswerPair:
    """The pair that a row of :func:`with_chat` is."""
    return AnswerPair(
        id=row["id"],
        prompt=row["prompt"],
        answer_1=row["answer_1"],
        answer_2=row["answer_2"],
        origin_1=Origin(**row["origin_1"]),
        origin_2=Origin(**row["origin_2"]),
        source=row["source"],
        created=row["created"],
        history=tuple(Message(role, content) for role, content in row["history"]),
        system_prompt=row["system_prompt"],
        preferred=row["preferred"],
        calibration=row["calibration"],
        retired=row["retired"],
    )


def chat_id(system_prompt: str, history: tuple[Message, ...]) -> str:
    """What names the turns before a question."""
    said = json.dumps([system_prompt, _turns(history)])
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def _turns(history: tuple[Message, ...]) -> list[list[str]]:
    return [[message.role, message.content] for message in history]


def _chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[at : at + _CHUNK] for at in range(0, len(ids), _CHUNK)]
