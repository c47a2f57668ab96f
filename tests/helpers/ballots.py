"""Ballots for statistics, built vote by vote."""

from __future__ import annotations

from studio.domain.votes import AnswerPair, Ballots, Choice, Origin, PairSource, Rater, RatingRules, Vote
from studio.services.votes.filters import VoteFilters
from studio.services.votes.statistics import VoteReport, report

BASE = Origin("base", "Base", model="tiny")
RED, BLUE, GREEN = (Origin("adapter", name, adapter_hash=name.lower()) for name in ("Red", "Blue", "Green"))


class Box:
    """A ballot box to be filled by hand."""

    def __init__(self) -> None:
        self.pairs: list[AnswerPair] = []
        self.votes: list[Vote] = []

    def pair(
        self, one: Origin, two: Origin, prompt: str | None = None, source: PairSource = "batch", **more: bool
    ) -> str:
        number = len(self.pairs)
        text = prompt if prompt is not None else f"Question {number}?"
        found = AnswerPair(
            f"p{number}", text, f"{number} one", f"{number} two", one, two, source, float(number), **more
        )
        self.pairs.append(found)
        return found.id

    def vote(self, pair: str, choice: Choice, rater: str = "", seconds: float = 5.0, left: int | None = None) -> None:
        number = len(self.votes)
        side = left if left is not None else 1 + number % 2
        rater = rater or f"r{sum(vote.pair_id == pair for vote in self.votes)}"
        self.votes.append(Vote(pair, rater, choice, side, seconds, 100.0 + number, 100.0 + number))  # type: ignore[arg-type]

    def ballots(self) -> Ballots:
        raters = sorted({vote.rater_id for vote in self.votes})
        return Ballots(
            tuple(self.pairs), tuple(self.votes), tuple(Rater(r, f"Name of {r}") for r in raters), RatingRules("")
        )

    def report(self, **filters: object) -> VoteReport:
        return report(self.ballots(), VoteFilters(**filters))  # type: ignore[arg-type]
