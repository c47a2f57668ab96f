"""What the page shows of the votes: sentences, the table of player pairs, whether they can be trusted. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from studio.services.votes import reading
from studio.services.votes.kept import KeptVotes
from studio.services.votes.quality import RaterShare
from studio.services.votes.result import VoteResult
from studio.services.votes.statistics import Match, VoteReport
from studio.services.wording import NONE
from studio.ui.parts.html import Macros

_HTML = Macros("votes/view.html")
#: Player pairs in sentences; the table has all.
MAX_SENTENCES = 6


def head(kept: KeptVotes | None) -> Markup:
    """Which result is looked at."""
    return _HTML.head(kept.id, kept.title) if kept else _HTML.head("", "")


def no_votes() -> Markup:
    """What stands there before the first vote."""
    return _HTML.no_votes()


def secret() -> Markup:
    """What a visitor sees instead of who leads while voting is open."""
    return _HTML.secret()


def preferences(report: VoteReport) -> Markup:
    """Who is preferred, in sentences, the pairs with most votes first; then who cannot be rated."""
    lines = [reading.read_match(match) for match in report.matches if match.votes][:MAX_SENTENCES]
    hidden = sum(match.votes > 0 for match in report.matches) - len(lines)
    if hidden > 0:
        lines.append(f"{hidden} more player pairs stand in the table.")
    return _HTML.sentences(
        lines or ["Every vote is between two samples of one model: nothing yet on who is preferred."]
    )


def counts(result: VoteResult) -> Markup:
    """What counts, what is left out, how many pairs are decided. Shown at all times, filters open or not."""
    report, decided = result.report, reading.read_decisions(result.decided, result.min_votes)
    lines = (
        reading.read_counts(report) if report.total else "",
        decided and f"{decided} Filters do not change this.",
        reading.read_reasons(report.reasons),
    )
    return _HTML.counts(report, [line for line in lines if line])


def table(matches: Sequence[Match]) -> str:
    """All player pairs with every count."""
    return _HTML.table([_row(match) for match in matches]) if matches else ""


def _row(match: Match) -> tuple[Match, str, str, str]:
    rate = NONE if match.rate is None else reading.percent(match.rate)
    return match, rate, reading.span(match.interval) if match.interval else NONE, reading.verdict(match)


def trust(report: VoteReport) -> str:
    """Agreement, sides and pace: whether these votes can be believed."""
    if not report.votes:
        return ""
    sides = report.sides
    agreement, pace = reading.read_agreement(report.agreement), reading.read_pace(report.pace)
    return _HTML.trust(agreement, sides, reading.read_sides(sides), pace)


def standings(report: VoteReport) -> str:
    """What must be known to read the ratings."""
    if report.standings is None:
        return ""
    return _HTML.standings(reading.read_standings(report.standings, report.players))


def rater_names(raters: Iterable[RaterShare], operator: bool) -> dict[str, str]:
    """What a page calls each rater: their name for the operator, a number for everybody else."""
    return {
        rater.id: (rater.name or f"rater {number}") if operator else f"rater {number}"
        for number, rater in enumerate(raters, 1)
    }
