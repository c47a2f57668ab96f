"""Pairs to vote on, and a rater who votes on all of them."""

from __future__ import annotations

from studio.domain.votes import NewPair, Origin, Rater, Served
from studio.services.rating.service import RatingService

BASE_ORIGIN = Origin("base", "Base model", model="embedded", fingerprint="f" * 64)
ADAPTER_ORIGIN = Origin(
    "adapter", "Adapter .9", model="embedded", run_id="run-a", adapter_hash="abc123", ratio=0.9, seed=7
)


def new_pairs(n: int, word: str = "question") -> list[NewPair]:
    """``n`` pairs that differ in their prompt."""
    return [
        NewPair(f"{word} {i}", f"yes, {i}", f"no, {i}", BASE_ORIGIN, ADAPTER_ORIGIN, "batch", system_prompt="Be kind.")
        for i in range(n)
    ]


def press_until_done(rating: RatingService, rater: Rater, press: str = "left") -> list[Served]:
    """Vote on everything that is served to this rater; what was served, in order."""
    seen: list[Served] = []
    while (served := rating.serve(rater)) is not None:
        seen.append(served)
        rating.vote(rater, served.pair_id, served.token, press, 1.0)  # type: ignore[arg-type]
    return seen
