"""What the votes on each pair come to. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Literal

from studio.domain.votes import Ballots, Choice, Decision


def decide(ballots: Ballots) -> tuple[Decision, ...]:
    """A decision for every pair, in the order of the pairs.

    An answer wins with more than half of all votes that are no skip (ties and "both bad" are votes against it), given at
    least ``rules.min_votes`` of them; otherwise the pair is undecided, however many votes it has.
    """
    counts: defaultdict[str, Counter[Choice]] = defaultdict(Counter)
    for vote in ballots.votes:
        counts[vote.pair_id][vote.choice] += 1
    decisions = []
    for pair in ballots.pairs:
        said = counts[pair.id]
        votes = said.total() - said["skip"]
        winner: Literal["1", "2"] | None = None
        if votes >= ballots.rules.min_votes:
            winner = "1" if 2 * said["1"] > votes else "2" if 2 * said["2"] > votes else None
        decisions.append(Decision(pair, winner, said["1"], said["2"], said["tie"], said["both_bad"], said["skip"]))
    return tuple(decisions)


def tally(decision: Decision) -> str:
    """Votes for the winner and for the other answer, and those for neither: ``3:1``, or ``3:0 and 2 for neither``."""
    ours, theirs = (decision.for_1, decision.for_2)[:: 1 if decision.winner == "1" else -1]
    neither = decision.ties + decision.both_bad
    return f"{ours}:{theirs}" + (f" and {neither} for neither" if neither else "")
