"""The rules of rating: the guidelines raters see until the operator writes their own, what rules must hold, and what the votes
on each pair come to under them. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Literal

from studio.domain.votes import Ballots, Choice, Decision, RatingRules
from studio.errors import InputError, NotFoundError
from studio.services.texts import check_text

#: Characters of the guidelines at most: nobody reads more on a phone.
MAX_GUIDELINES = 20_000
MAX_MIN_VOTES = 99

GUIDELINES = """\
## How to choose

Read the question, then both answers, and press the one you would rather have received. Judge in this order:

1. **Helpful** – it answers what was asked, completely and in a form that can be used.
2. **Truthful** – it says nothing false and does not claim to know what it cannot know.
3. **Harmless** – it does not insult, endanger or help to hurt anybody.

Usually the more helpful answer wins. An answer that is **false** on the point that matters, or that could **really harm**
somebody, loses however helpful it sounds. If both are true and harmless, only helpfulness counts.

- Length is no merit, and neither is a confident tone. An honest "I don't know" beats an invention.
- **Tie**: you would be equally glad of either.
- **Both bad**: you would not want to give either to anybody, even if one is a little less bad.
- **Skip**: you cannot judge this one (a language or a subject you do not know). A skip counts for nothing.
- Not sure whether a fact is right? Look it up, or skip. Your first clear impression is good enough; there is *undo*.
"""


def unknown_room(code: str) -> NotFoundError:
    """What is said where no room has a code."""
    return NotFoundError(f"There is no room {code[:20]!r}; check the code, or ask who runs the vote.")


def in_force(rules: RatingRules, now: float) -> RatingRules:
    """The rules as they hold at ``now`` (Unix seconds): closed from the moment they set."""
    return replace(rules, open=False) if 0 < rules.closes <= now else rules


def check_rules(rules: RatingRules) -> None:
    """Check what the operator wants to set.

    Raises:
        InputError: a value is out of range; the message names it.
    """
    votes = rules.min_votes
    if not isinstance(votes, int) or isinstance(votes, bool) or not 1 <= votes <= MAX_MIN_VOTES or votes % 2 == 0:
        raise InputError(f"min_votes is {votes}; it must be odd, from 1 to {MAX_MIN_VOTES}.")
    if not math.isfinite(rules.closes) or rules.closes < 0:
        raise InputError(f"closes is {rules.closes}; it must be a time in Unix seconds, or 0 for none.")
    check_text("guidelines", rules.guidelines, limit=MAX_GUIDELINES, empty=True)


def decide(ballots: Ballots) -> tuple[Decision, ...]:
    """A decision for every pair, in the order of the pairs.

    An answer wins with more than half of all votes that are no skip (ties and "both bad" are votes against it), given at
    least ``ballots.min_votes`` of them; otherwise the pair is undecided, however many votes it has.
    """
    counts: defaultdict[str, Counter[Choice]] = defaultdict(Counter)
    for vote in ballots.votes:
        counts[vote.pair_id][vote.choice] += 1
    decisions, needed = [], ballots.min_votes
    for pair in ballots.pairs:
        count = counts[pair.id]
        votes = count.total() - count["skip"]
        winner: Literal["1", "2"] | None = None
        if votes >= needed:
            winner = "1" if 2 * count["1"] > votes else "2" if 2 * count["2"] > votes else None
        decisions.append(Decision(pair, winner, count["1"], count["2"], count["tie"], count["both_bad"], count["skip"]))
    return tuple(decisions)


def tally(decision: Decision) -> str:
    """Votes for the winner and for the other answer, and those for neither: ``3:1``, or ``3:0 and 2 for neither``."""
    ours, theirs = (decision.for_1, decision.for_2)[:: 1 if decision.winner == "1" else -1]
    neither = decision.ties + decision.both_bad
    return f"{ours}:{theirs}" + (f" and {neither} for neither" if neither else "")
