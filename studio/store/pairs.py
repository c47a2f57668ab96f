"""Queries about pairs: storing them, finding the next one for a rater, and what was served."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, exists, func, select, update

from studio.domain import Message
from studio.store.rows import insert_new, upsert
from studio.store.tables import chats, pairs, servings, votes
from studio.votes import AnswerPair, Origin, PairSource

#: Rows of one INSERT or ids of one IN list: far below the parameter limits of both databases.
_CHUNK = 500
#: ``shuffle`` is at least 0 and below this.
SHUFFLE_RANGE = 1 << 28


@dataclass(frozen=True)
class Serving:
    """A pair that was served to a rater, with the answer (1 or 2) that stood on the left."""

    pair: AnswerPair
    left: Literal[1, 2]


def add_pairs(connection: Connection, new: Sequence[AnswerPair], first_place: int = 0) -> frozenset[str]:
    """Store pairs whose ids are not known yet; returns the ids that were new. ``first_place`` is the place of the first
    among pairs of the same ``created``."""
    talks = {_chat_id(pair): pair for pair in new}
    # Sorted by id: two processes that add the same pairs in another order would wait for each other for ever.
    insert_new(
        connection,
        chats,
        [
            {"id": key, "system_prompt": pair.system_prompt, "history": _turns(pair.history)}
            for key, pair in sorted(talks.items())
        ],
    )
    known = {pair.id for pair in find_pairs(connection, [pair.id for pair in new])}
    rows = {
        pair.id: {
            "id": pair.id,
            "chat_id": _chat_id(pair),
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
        }
        for place, pair in enumerate(new, first_place)
        if pair.id not in known
    }
    insert_new(connection, pairs, [rows[key] for key in sorted(rows)])
    return frozenset(rows)


def find_pair(connection: Connection, pair_id: str) -> AnswerPair | None:
    """The pair of that id."""
    return next(iter(find_pairs(connection, [pair_id])), None)


def find_pairs(connection: Connection, pair_ids: Sequence[str]) -> tuple[AnswerPair, ...]:
    """The pairs of those ids that exist, in no order."""
    found: list[AnswerPair] = []
    for chunk in _chunks(pair_ids):
        found += [_pair(row) for row in connection.execute(_with_chat().where(pairs.c.id.in_(chunk))).mappings()]
    return tuple(found)


def all_pairs(connection: Connection) -> tuple[AnswerPair, ...]:
    """Every pair, in the order they came."""
    rows = connection.execute(_with_chat().order_by(pairs.c.created, pairs.c.place, pairs.c.id)).mappings()
    return tuple(_pair(row) for row in rows)


def mark_pairs(connection: Connection, pair_ids: Iterable[str], **marks: bool) -> int:
    """Set ``calibration`` or ``retired`` of pairs; returns how many of the ids exist."""
    changed = 0
    for chunk in _chunks(sorted(set(pair_ids))):
        changed += connection.execute(update(pairs).where(pairs.c.id.in_(chunk)).values(**marks)).rowcount
    return changed


def open_serving(connection: Connection, rater_id: str) -> Serving | None:
    """The pair served last to this rater that waits for their vote, if it may still be voted on."""
    query = (
        _with_chat(servings.c.left_answer)
        .join(servings, servings.c.pair_id == pairs.c.id)
        .where(servings.c.rater_id == rater_id, servings.c.open.is_(True), pairs.c.retired.is_(False))
        .order_by(servings.c.last_served.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Serving(_pair(row), row["left_answer"])


def next_pair(connection: Connection, rater_id: str, start: int) -> AnswerPair | None:
    """The pair this rater should see next: of the calibration pairs, then of the others, one with the fewest votes among
    those they have no vote on; where several have equally few, the next one from ``start`` (0 to ``SHUFFLE_RANGE``) on
    in the shuffled order. Every step walks along an index and passes at most the rater's own votes."""
    unrated = ~exists().where(votes.c.pair_id == pairs.c.id, votes.c.rater_id == rater_id)
    for calibration in (True, False):
        served = and_(pairs.c.retired.is_(False), pairs.c.calibration.is_(calibration), unrated)
        query = select(pairs.c.id, pairs.c.votes).where(served).order_by(pairs.c.votes, pairs.c.shuffle).limit(1)
        fewest = connection.execute(query).one_or_none()
        if fewest is None:
            continue
        for part in (pairs.c.shuffle >= start, pairs.c.shuffle < start):
            query = _with_chat().where(served, pairs.c.votes == fewest.votes, part).order_by(pairs.c.shuffle).limit(1)
            row = connection.execute(query).mappings().one_or_none()
            if row is not None:
                return _pair(row)
        # Others voted on all of these just now (PostgreSQL); the first one found is as good.
        return find_pair(connection, fewest.id)
    return None


def record_serving(connection: Connection, rater_id: str, pair_id: str, left: Literal[1, 2], now: float) -> None:
    """Remember that a pair was served, and waits for the rater's vote."""
    row = {
        "rater_id": rater_id,
        "pair_id": pair_id,
        "left_answer": left,
        "first_served": now,
        "last_served": now,
        "open": True,
    }
    upsert(connection, servings, row, keys=("rater_id", "pair_id"), changes=("last_served", "open"))


def close_serving(connection: Connection, rater_id: str, pair_id: str) -> None:
    """Remember that the pair waits for this rater's vote no more."""
    query = update(servings).where(servings.c.rater_id == rater_id, servings.c.pair_id == pair_id)
    connection.execute(query.values(open=False))


def was_served(connection: Connection, rater_id: str, pair_id: str) -> bool:
    """Whether this pair was ever served to this rater."""
    query = select(exists().where(servings.c.rater_id == rater_id, servings.c.pair_id == pair_id))
    return bool(connection.execute(query).scalar_one())


def pair_counts(connection: Connection, min_votes: int) -> tuple[int, int, int]:
    """How many pairs are served, how many of these have ``min_votes`` votes, and how many votes there are in all, those
    on retired pairs too; skips are no votes."""
    served: ColumnElement[bool] = pairs.c.retired.is_(False)
    query = select(
        func.count().filter(served),
        func.count().filter(served, pairs.c.votes >= min_votes),
        func.coalesce(func.sum(pairs.c.votes), 0),
    )
    total, decided, cast = connection.execute(query).one()
    return total, decided, cast


def count_by_source(connection: Connection) -> dict[PairSource, int]:
    """How many pairs came from where, retired ones too."""
    rows = connection.execute(select(pairs.c.source, func.count()).group_by(pairs.c.source))
    return dict(rows.tuples().all())


def _with_chat(*more: ColumnElement[Any]) -> Select[Any]:
    return select(pairs, chats.c.system_prompt, chats.c.history, *more).join(chats, chats.c.id == pairs.c.chat_id)


def _pair(row: RowMapping) -> AnswerPair:
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


def _chat_id(pair: AnswerPair) -> str:
    said = json.dumps([pair.system_prompt, _turns(pair.history)])
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def _turns(history: tuple[Message, ...]) -> list[list[str]]:
    return [[message.role, message.content] for message in history]


def _chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[at : at + _CHUNK] for at in range(0, len(ids), _CHUNK)]
