"""What tests of rating share."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select

from studio.domain.votes import NewPair, Rater, Reveal, Served
from studio.services.rating.service import RatingService
from studio.store import tables
from tests.helpers.pairs import ADAPTER_ORIGIN, BASE_ORIGIN


def pair(prompt: str = "Tea or coffee?", a: str = "Tea.", b: str = "Coffee.", **more: object) -> NewPair:
    return NewPair(prompt, a, b, BASE_ORIGIN, ADAPTER_ORIGIN, "batch", **more)  # type: ignore[arg-type]


def somebody(rating: RatingService, name: str = "Anna") -> Rater:
    return rating.register(name)[0]


def served_to(rating: RatingService, rater: Rater) -> Served:
    served = rating.serve(rater)
    assert served is not None
    return served


def press(rating: RatingService, rater: Rater, served: Served, button: str, seconds: float = 2.0) -> Reveal | None:
    return rating.vote(rater, served.pair_id, served.token, button, seconds).reveal  # type: ignore[arg-type]


def history(rating: RatingService) -> list[tuple[str, str]]:
    with rating.store().read() as connection:
        rows = connection.execute(select(tables.vote_history).order_by(tables.vote_history.c.id))
        return [(row.choice, row.how) for row in rows]


def counters(rating: RatingService) -> tuple[dict[str, int], dict[str, int]]:
    """The vote counts kept beside pairs and raters of the room, those above 0."""
    with rating.store().read() as connection:
        pairs = connection.execute(
            select(tables.pairs.c.id, tables.pairs.c.votes).where(tables.pairs.c.room == rating.room)
        )
        raters = connection.execute(
            select(tables.raters.c.id, tables.raters.c.votes).where(tables.raters.c.room == rating.room)
        )
        return {k: n for k, n in pairs if n}, {k: n for k, n in raters if n}


def assert_counters_are_right(rating: RatingService) -> None:
    cast = [vote for vote in rating.ballots().votes if vote.choice != "skip"]
    assert counters(rating) == (Counter(v.pair_id for v in cast), Counter(v.rater_id for v in cast))
