"""A kept result of votes: who is preferred, whether the votes can be trusted, which model wrote which answer. Without a script."""

from __future__ import annotations

from typing import Any

from studio.domain.votes import Decision
from studio.services.pages.frame import moment, static_page
from studio.services.votes import reading
from studio.services.votes.kept import KeptVotes
from studio.services.votes.statistics import VoteReport
from studio.services.wording import NONE, counted


def votes_page(kept: KeptVotes, way_back: bool = False) -> str:
    """The whole page, as HTML; with a ``way_back`` where a server shows it."""
    result = kept.result
    report = result.report
    matches = [match for match in report.matches if match.votes]
    return static_page(
        "votes.html",
        title=kept.title,
        subtitle=(f"Votes, {moment(kept.created)}", kept.id),
        facts=_facts(kept),
        way_back=way_back,
        findings=[reading.read_match(match) for match in matches],
        rates=[
            (match, f"{match.a.label} : {match.b.label}", reading.percent(match.rate))
            for match in matches
            if match.rate is not None
        ],
        matches=[(match, reading.verdict(match)) for match in matches],
        ratings=_ratings(report),
        standings=reading.read_standings(report.standings, report.players) if report.standings else [],
        agreement=reading.read_agreement(report.agreement),
        sides=report.sides,
        sides_line=reading.read_sides(report.sides),
        pace=reading.read_pace(report.pace),
        pairs=[(one, _answers(one)) for one in result.pairs],
        more=max(0, report.pairs - len(result.pairs)),
    )


def _answers(one: Decision) -> list[tuple[str, str, int, bool]]:
    """Both answers with who wrote them, their votes, and whether they won."""
    pair = one.pair
    return [
        (pair.answer_1, pair.origin_1.label, one.for_1, one.winner == "1"),
        (pair.answer_2, pair.origin_2.label, one.for_2, one.winner == "2"),
    ]


def _ratings(report: VoteReport) -> list[tuple[str, str, str, int]]:
    """Every rated player: name, points, interval, number of the group it can be compared in."""
    if report.standings is None:
        return []
    names = {player.id: player.label for player in report.players}
    return [
        (
            names[rating.player],
            f"{rating.points:.0f}",
            f"{rating.interval.low:.0f} to {rating.interval.high:.0f}" if rating.interval else NONE,
            number,
        )
        for number, group in enumerate(report.standings.groups, 1)
        for rating in group.ratings
    ]


def _facts(kept: KeptVotes) -> dict[str, Any]:
    result = kept.result
    pairs = reading.read_decisions(result.decided, result.min_votes)
    facts = {
        "Votes": reading.read_counts(result.report),
        "Pairs": pairs,
        "Reasons": reading.read_reasons(result.report.reasons),
        "Raters": f"{counted(len(result.report.raters), 'rater')}; sides drawn by lot, nobody told who wrote an answer",
    }
    return {name: value for name, value in facts.items() if value}
