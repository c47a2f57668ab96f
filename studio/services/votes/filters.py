"""Which votes count. Every filter is off at first, says exactly what it leaves out, and deletes nothing."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from studio.domain.votes import AnswerPair, Ballots, PairSource, Vote
from studio.errors import InputError

#: How a report names a source.
_FROM: dict[PairSource, str] = {"compare": "the screen of Compare", "batch": "batches", "import": "imported files"}
SOURCES: tuple[PairSource, ...] = get_args(PairSource)


@dataclass(frozen=True)
class VoteFilters:
    """What to leave out; the defaults leave out nothing.

    Attributes:
        min_votes: raters with fewer votes than this in all (skips are no votes) are left out.
        min_seconds: votes that took less than this are left out.
        without_calibration: votes on calibration pairs, which everybody rates, are left out.
        without_retired: votes on pairs that are served no more are left out.
        sources: votes on pairs of other sources are left out.
        without_raters: ids of raters whose votes are left out.
    """

    min_votes: int = 0
    min_seconds: float = 0.0
    without_calibration: bool = False
    without_retired: bool = False
    sources: tuple[PairSource, ...] = SOURCES
    without_raters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.min_votes < 0:
            raise InputError(f"min_votes is {self.min_votes}; a rater cannot have fewer than 0 votes.")
        if not math.isfinite(self.min_seconds) or self.min_seconds < 0:
            raise InputError(f"min_seconds is {self.min_seconds}; it must be 0 or more.")
        unknown = [source for source in self.sources if source not in SOURCES]
        if unknown:
            raise InputError(f"sources names {unknown[0]!r}; there are {', '.join(SOURCES)}.")


@dataclass(frozen=True)
class LeftOut:
    """What one filter leaves out: ``votes`` (``skips`` of them), which the filters before it had let through."""

    reason: str
    votes: int
    skips: int


@dataclass(frozen=True)
class Filtered:
    """The ballots that are left, and where the others went: ``total`` is what is kept plus everything in ``left_out``.

    ``left_out`` has a line for every filter that is on, also where it leaves out nothing.
    """

    ballots: Ballots
    total: int
    left_out: tuple[LeftOut, ...]

    @property
    def kept(self) -> int:
        """Votes that count, skips among them."""
        return len(self.ballots.votes)


def filtered(ballots: Ballots, filters: VoteFilters) -> Filtered:
    """``ballots`` with the votes that ``filters`` let through; pairs and raters stay all in.

    A vote that several filters would leave out is counted under the first of them, in the order of the report.
    """
    pairs = {pair.id: pair for pair in ballots.pairs}
    cast = Counter(vote.rater_id for vote in ballots.votes if vote.choice != "skip")
    tests = _tests(filters, cast)
    kept: list[Vote] = []
    gone: dict[str, list[Vote]] = {reason: [] for reason, _ in tests}
    for vote in ballots.votes:
        reason = next((reason for reason, leaves in tests if leaves(vote, pairs[vote.pair_id])), None)
        (kept if reason is None else gone[reason]).append(vote)
    left_out = tuple(
        LeftOut(reason, len(votes), sum(vote.choice == "skip" for vote in votes)) for reason, votes in gone.items()
    )
    return Filtered(dataclasses.replace(ballots, votes=tuple(kept)), len(ballots.votes), left_out)


def _tests(filters: VoteFilters, cast: Counter[str]) -> list[tuple[str, Callable[[Vote, AnswerPair], bool]]]:
    """The filters that are on, each with what it says it leaves out."""
    tests: list[tuple[str, Callable[[Vote, AnswerPair], bool]]] = []
    for source in SOURCES:
        if source not in filters.sources:
            tests.append((f"on pairs from {_FROM[source]}", _comes_from(source)))
    if filters.without_calibration:
        tests.append(("on calibration pairs", lambda vote, pair: pair.calibration))
    if filters.without_retired:
        tests.append(("on retired pairs", lambda vote, pair: pair.retired))
    if filters.without_raters:
        out = frozenset(filters.without_raters)
        people = "1 rater" if len(out) == 1 else f"{len(out)} raters"
        tests.append((f"by {people} left out by hand", lambda vote, pair: vote.rater_id in out))
    if filters.min_seconds > 0:
        tests.append((f"faster than {filters.min_seconds:g} s", lambda vote, pair: vote.seconds < filters.min_seconds))
    if filters.min_votes > 0:
        reason = f"by raters with fewer than {filters.min_votes} votes in all"
        tests.append((reason, lambda vote, pair: cast[vote.rater_id] < filters.min_votes))
    return tests


def _comes_from(source: PairSource) -> Callable[[Vote, AnswerPair], bool]:
    return lambda vote, pair: pair.source == source
