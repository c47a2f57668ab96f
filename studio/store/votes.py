"""Queries about votes. Whoever changes a vote here has locked its rater (``raters.find_rater``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Integer, RowMapping, and_, bindparam, delete, exists, func, insert, select, update

from studio.domain.votes import PastChoice, Progress, Vote
from studio.store.tables import pairs, raters, vote_history, votes
from studio.store.upsert import insert_new

# Built once: building a query costs more than running it.
_THIS = (votes.c.pair_id == bindparam("pair"), votes.c.rater_id == bindparam("rater"))
_PAST = (
    select(func.count())
    .select_from(vote_history)
    .where(vote_history.c.pair_id == bindparam("pair"), vote_history.c.rater_id == bindparam("rater"))
    .scalar_subquery()
)
# No join: SQLite would look at every pair for each vote it counts.
_STILL_SERVED = ~exists().where(pairs.c.id == votes.c.pair_id, pairs.c.retired.is_(True)).correlate(votes)
#: How many of the pairs still served a rater has rated.
OWN = (
    select(func.count())
    .select_from(votes)
    .where(votes.c.rater_id == bindparam("rater"), _STILL_SERVED)
    .correlate(None)
    .scalar_subquery()
)
_STANDING = (
    select(pairs.c.retired, pairs.c.origin_1, pairs.c.origin_2, *votes.c, _PAST.label("past"), OWN.label("own"))
    .select_from(pairs.outerjoin(votes, and_(votes.c.pair_id == pairs.c.id, votes.c.rater_id == bindparam("rater"))))
    .where(pairs.c.id == bindparam("pair"))
)
_ADD = insert(votes)
_CHANGE = update(votes).where(*_THIS)
_COUNT_PAIR = (
    update(pairs).where(pairs.c.id == bindparam("pair")).values(votes=pairs.c.votes + bindparam("by", type_=Integer))
)
_VOTERS = (
    select(func.count())
    .select_from(raters)
    .where(raters.c.room == bindparam("room"), raters.c.votes > 0)
    .scalar_subquery()
)
_TALLY = select(
    func.count().filter(pairs.c.retired.is_(False)).label("pairs"),
    func.count().filter(pairs.c.retired.is_(False), pairs.c.votes >= bindparam("min_votes")).label("decided"),
    func.coalesce(func.sum(pairs.c.votes), 0).label("votes"),
    OWN.label("own"),
    _VOTERS.label("raters"),
).where(pairs.c.room == bindparam("room"))


@dataclass(frozen=True)
class Standing:
    """A pair as a vote finds it: ``labels`` of its two answers, the rater's present vote, how many choices of theirs on it were
    changed or taken back before, and how many of the pairs still served they rated."""

    retired: bool
    labels: tuple[str, str]
    before: Vote | None
    past: int
    own: int


def standing(connection: Connection, pair_id: str, rater_id: str) -> Standing | None:
    """Where a pair and this rater's vote on it stand; None where there is no such pair."""
    row = connection.execute(_STANDING, {"pair": pair_id, "rater": rater_id}).mappings().one_or_none()
    if row is None:
        return None
    before = None if row["rater_id"] is None else _vote(row)
    labels = str(row["origin_1"]["label"]), str(row["origin_2"]["label"])
    return Standing(row["retired"], labels, before, row["past"], row["own"])


def tally(connection: Connection, room: str, rater_id: str, min_votes: int) -> Progress:
    """How far this rater and all raters of a room are. Skips count for the rater's own progress, and as nothing else; votes on
    retired pairs count as votes."""
    row = connection.execute(_TALLY, {"room": room, "rater": rater_id, "min_votes": min_votes}).one()
    return Progress(row.own, row.pairs, row.pairs, row.decided, row.votes, row.raters)


def newest_vote(connection: Connection, rater_id: str) -> Vote | None:
    """The newest vote of a rater on a pair that is still served."""
    query = (
        select(votes)
        .where(votes.c.rater_id == rater_id, _STILL_SERVED)
        .order_by(votes.c.updated.desc(), votes.c.created.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _vote(row)


def all_votes(connection: Connection, room: str) -> tuple[Vote, ...]:
    """Every vote of a room, oldest first."""
    query = select(votes).join(pairs, pairs.c.id == votes.c.pair_id).where(pairs.c.room == room)
    rows = connection.execute(query.order_by(votes.c.created, votes.c.pair_id, votes.c.rater_id)).mappings()
    return tuple(_vote(row) for row in rows)


def add_vote(connection: Connection, vote: Vote) -> None:
    """Store the first choice of a rater on a pair."""
    connection.execute(_ADD, _row(vote))


def add_votes(connection: Connection, new: Sequence[Vote]) -> int:
    """Store votes where the rater has none on that pair; returns how many were new."""
    return insert_new(connection, votes, [_row(vote) for vote in new])


def change_vote(connection: Connection, vote: Vote) -> None:
    """Replace the choice of a rater on a pair."""
    connection.execute(_CHANGE, {**_row(vote), "pair": vote.pair_id, "rater": vote.rater_id})


def remove_vote(connection: Connection, vote: Vote) -> None:
    """Delete the choice of a rater on a pair."""
    connection.execute(delete(votes).where(votes.c.pair_id == vote.pair_id, votes.c.rater_id == vote.rater_id))


def all_history(connection: Connection, room: str) -> tuple[PastChoice, ...]:
    """Every choice of a room that was changed or taken back, in the order in which that was done."""
    query = select(vote_history).join(pairs, pairs.c.id == vote_history.c.pair_id).where(pairs.c.room == room)
    rows = connection.execute(query.order_by(vote_history.c.id)).mappings()
    return tuple(
        PastChoice(
            pair_id=row["pair_id"],
            rater_id=row["rater_id"],
            choice=row["choice"],
            left=row["left_answer"],
            seconds=row["seconds"],
            updated=row["updated"],
            replaced=row["replaced"],
            how=row["how"],
        )
        for row in rows
    )


def keep_in_history(connection: Connection, past: Sequence[PastChoice]) -> None:
    """Remember choices that are about to be changed or taken back, or were elsewhere."""
    if past:
        rows = [{**asdict(one), "left_answer": one.left} for one in past]
        for row in rows:
            del row["left"]
        connection.execute(insert(vote_history), rows)


def count_on_pair(connection: Connection, pair_id: str, by: int) -> None:
    """Add ``by`` to the pair's number of votes that are no skip; the rater's is ``raters.count_and_lock``."""
    connection.execute(_COUNT_PAIR, {"pair": pair_id, "by": by})


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
        "reasons": ",".join(vote.reasons),
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
        reasons=tuple(filter(None, row["reasons"].split(","))),
    )
