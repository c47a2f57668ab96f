"""What the votes come to at one moment: everything that is said of them, and the pairs they were cast on."""

from __future__ import annotations

from dataclasses import dataclass

from studio.domain.votes import Ballots, Decision
from studio.services.rating.rules import decide
from studio.services.votes.filters import VoteFilters
from studio.services.votes.statistics import VoteReport, report

#: Pairs of a result at most, those with most votes.
MAX_PAIRS = 500


@dataclass(frozen=True)
class Decided:
    """How many pairs are decided, have enough votes and no majority, or wait for votes."""

    decided: int = 0
    undecided: int = 0
    waiting: int = 0

    @property
    def pairs(self) -> int:
        """All of them."""
        return self.decided + self.undecided + self.waiting


@dataclass(frozen=True)
class VoteResult:
    """A report with what the votes on each pair come to: ``pairs`` are the :data:`MAX_PAIRS` with most votes, ``min_votes`` what decides
    one. Filters play no part in ``decided`` and ``pairs``."""

    report: VoteReport
    min_votes: int
    decided: Decided
    pairs: tuple[Decision, ...]


def result_of(ballots: Ballots, filters: VoteFilters | None = None) -> VoteResult:
    """The result of ``ballots`` under ``filters``."""
    decisions, needed = decide(ballots), ballots.min_votes
    decided = sum(one.winner is not None for one in decisions)
    enough = sum(one.winner is not None or one.votes >= needed for one in decisions)
    voted = sorted((one for one in decisions if one.votes), key=lambda one: -one.votes)
    return VoteResult(
        report(ballots, filters),
        needed,
        Decided(decided, enough - decided, len(decisions) - enough),
        tuple(voted[:MAX_PAIRS]),
    )
