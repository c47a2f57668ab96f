"""Queries about votes. Whoever changes a vote here has locked its rater (``raters.find_rater``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from studio.store.rows import insert_new
from studio.store.tables import pairs, raters, vote_history, votes
from studio.votes import Vote

#: How a choice came into the history.
How = Literal["changed", "undone"]


def find_vote(connection: Connection, pair_id: str, rater_id: str) -> Vote | None:
    """The present choice of one rater on one pair."""
    query = select(votes).where(votes.c.pair_id == pair_id, votes.c.rater_id == rater_id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _vote(row)


def newest_vote(connection: Connection, rater_id: str) -> Vote | None:
    """The newest vote of a rater on a pair that is still served."""
    query = (
        select(votes)
        .join(pairs, pairs.c.id == votes.c.pair_id)
        .where(votes.c.rater_id == rater_id, pairs.c.retired.is_(False))
        .order_by(votes.c.updated.desc(), votes.c.created.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _vote(row)


def all_votes(connection: Connection) -> tuple[Vote, ...]:
    """Every vote, oldest first."""
    rows = connection.execute(select(votes).order_by(votes.c.created, votes.c.pair_id, votes.c.rater_id)).mappings()
    return tuple(_vote(row) for row in rows)


def own_votes(connection: Connection, rater_id: str) -> int:
    """How many of the pairs that are served this rater has voted on or skipped."""
    query = select(func.count()).select_from(votes).join(pairs, pairs.c.id == votes.c.pair_id)
    return connection.execute(query.where(votes.c.rater_id == rater_id, pairs.c.retired.is_(False))).scalar_one()


def cast_votes(connection: Connection, rater_id: str) -> int:
    """How many votes and skips of this rater are in the store."""
    query = select(func.count()).select_from(votes).where(votes.c.rater_id == rater_id)
    return connection.execute(query).scalar_one()


def voters(connection: Connection) -> int:
    """How many people have a vote that is no skip."""
    return connection.execute(select(func.count()).select_from(raters).where(raters.c.votes > 0)).scalar_one()


def past_choices(connection: Connection, pair_id: str, rater_id: str) -> int:
    """How many choices of this rater on this pair were changed or taken back."""
    query = select(func.count()).select_from(vote_history)
    same = (vote_history.c.pair_id == pair_id, vote_history.c.rater_id == rater_id)
    return connection.execute(query.where(*same)).scalar_one()


def add_vote(connection: Connection, vote: Vote) -> None:
    """Store the first choice of a rater on a pair."""
    connection.execute(insert(votes).values(_row(vote)))


def add_votes(connection: Connection, new: Sequence[Vote]) -> int:
    """Store votes where the rater has none on that pair; returns how many were new."""
    return insert_new(connection, votes, [_row(vote) for vote in new])


def change_vote(connection: Connection, vote: Vote) -> None:
    """Replace the choice of a rater on a pair."""
    mine = (votes.c.pair_id == vote.pair_id, votes.c.rater_id == vote.rater_id)
    connection.execute(update(votes).where(*mine).values(_row(vote)))


def remove_vote(connection: Connection, vote: Vote) -> None:
    """Delete the choice of a rater on a pair."""
    connection.execute(delete(votes).where(votes.c.pair_id == vote.pair_id, votes.c.rater_id == vote.rater_id))


def keep_in_history(connection: Connection, vote: Vote, replaced: float, how: How) -> None:
    """Remember a choice that is about to be changed or taken back."""
    row = _row(vote)
    kept = {name: row[name] for name in ("pair_id", "rater_id", "choice", "left_answer", "seconds", "updated")}
    connection.execute(insert(vote_history).values(**kept, replaced=replaced, how=how))


def count_vote(connection: Connection, pair_id: str, rater_id: str, by: int) -> None:
    """Add ``by`` to the numbers of votes that are no skip, of the pair and of the rater."""
    connection.execute(update(pairs).where(pairs.c.id == pair_id).values(votes=pairs.c.votes + by))
    connection.execute(update(raters).where(raters.c.id == rater_id).values(votes=raters.c.votes + by))


def _row(vote: Vote) -> dict[str, Any]:
    return {
        "pair_id": vote.pair_id,
        "rater_id": vote.rater_id,
        "choice": vote.choice,
        "left_answer": vote.left,
        "seconds": vote.seconds,
        "created": vote.created,
        "updated": vote.updated,
        "changes": vote.changes,
    }


def _vote(row: RowMapping) -> Vote:
    return Vote(
        pair_id=row["pair_id"],
        rater_id=row["rater_id"],
        choice=row["choice"],
        left=row["left_answer"],
        seconds=row["seconds"],
        created=row["created"],
        updated=row["updated"],
        changes=row["changes"],
    )
