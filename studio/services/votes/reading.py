"""Sentences that say what the votes say, and what they do not. Pure functions over results; plain text, nothing escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from studio.domain.votes import Reason
from studio.services.statistics.agreement import Agreement
from studio.services.statistics.bradley_terry import Standings
from studio.services.statistics.intervals import MIN_CLUSTERS, Interval
from studio.services.votes.quality import VERY_FAST_S, Pace, SideBias
from studio.services.votes.result import Decided
from studio.services.votes.statistics import Match, Player, VoteReport
from studio.services.wording import counted, signed

_VERDICT = {"open": "not yet distinguishable", "none": "no votes"}


def headline(match: Match) -> str:
    """Who is preferred, without the evidence."""
    a, b = match.a.label, match.b.label
    if match.verdict not in ("a", "b"):
        return f"{a} and {b} are not yet distinguishable."
    return f"{a} is preferred to {b}." if match.verdict == "a" else f"{b} is preferred to {a}."


def read_match(match: Match) -> str:
    """Who is preferred, on what evidence; while nobody is, what it would take."""
    a, b = match.a.label, match.b.label
    if match.rate is None:
        return f"{a} against {b}: no votes yet."
    if match.method == "one cluster":
        return (
            f"{a} and {b} are not yet distinguishable: {a} has {percent(match.rate)} of {counted(match.votes, 'vote')}, but "
            "all on one prompt, which says nothing of other prompts. Votes on more prompts are needed."
        )
    assert match.interval is not None  # only one prompt or none has no interval
    if match.verdict == "b":  # said from the winner's side
        return _preferred(b, a, 1 - match.rate, Interval(1 - match.interval.high, 1 - match.interval.low), match)
    if match.verdict == "a":
        return _preferred(a, b, match.rate, match.interval, match)
    if match.many:
        needed = "At such a rate it would take a great many more votes to settle it."
    else:
        needed = f"Roughly {match.more:,} more votes, on new prompts, would settle it if {percent(match.rate)} is the true rate."
    return (
        f"{a} and {b} are not yet distinguishable: {a} has {percent(match.rate)} of {counted(match.votes, 'vote')} "
        f"(95 % interval {span(match.interval)} over {counted(match.prompts, 'prompt')}, and 50 % lies inside). "
        f"{needed}{_careful(match)}"
    )


def _preferred(winner: str, loser: str, rate: float, interval: Interval, match: Match) -> str:
    return (
        f"{winner} is preferred to {loser}: {percent(rate)} of {counted(match.votes, 'vote')} "
        f"(95 % interval {span(interval)} over {counted(match.prompts, 'prompt')}).{_careful(match)}"
    )


def _careful(match: Match) -> str:
    if match.method == "few clusters":
        return f" With fewer than {MIN_CLUSTERS} prompts the interval is a Wilson bound that counts each prompt once."
    if match.method == "no variation":
        return " Every prompt came out the same, so the interval is a Wilson bound that counts each prompt once."
    return ""


def read_standings(standings: Standings, players: Iterable[Player]) -> list[str]:
    """Who can be compared with whom, and who cannot and why; empty where everybody can and every rating has an interval."""
    label = {player.id: player.label for player in players}
    unrated = [(label[one.player], one.reason) for one in standings.unrated]
    sentences = []
    if len(standings.groups) > 1:
        groups = " | ".join(", ".join(label[rating.player] for rating in group.ratings) for group in standings.groups)
        sentences.append(
            f"Ratings can be compared within a group only ({groups}): between groups, wins do not lead both there and back."
        )
    sentences += [f"No rating for {player}: it {reason}." for player, reason in unrated]
    for group in standings.groups:
        if any(rating.interval is None for rating in group.ratings):
            names = ", ".join(label[rating.player] for rating in group.ratings)
            sentences.append(
                f"{names}: too few votes on too few prompts "
                f"({counted(group.prompts, 'prompt')}) for intervals of the ratings."
            )
    return sentences


def read_agreement(agreement: Agreement) -> str:
    """Alpha with interval and n, raw agreement, and how to read it."""
    if agreement.alpha is None:
        raw = f" {agreement.agreeing} of {agreement.couples} couples of votes agree." if agreement.couples else ""
        return agreement.reading + raw
    between = agreement.interval
    interval = (
        f" (95 % interval {signed(between.low, 2, plus=False)} to {signed(between.high, 2, plus=False)})"
        if between
        else " (no interval: too few pairs or no variation)"
    )
    assert agreement.raw is not None  # alpha needs couples
    return (
        f"Krippendorff's alpha {signed(agreement.alpha, 2, plus=False)}{interval}, on {counted(agreement.votes, 'vote')} by "
        f"{counted(agreement.raters, 'rater')} on the {counted(agreement.pairs, 'pair')} with two votes or more. Raw agreement "
        f"{percent(agreement.raw)} ({agreement.agreeing:,} of {agreement.couples:,} couples of votes). {agreement.reading}"
    )


def read_sides(sides: SideBias) -> str:
    """The left side's share, with a warning where it is off one half."""
    if sides.share is None or sides.interval is None:
        return "No votes for one side yet."
    sentence = f"The left answer won {percent(sides.share)} of {counted(sides.votes, 'vote')} for one side (95 % Wilson interval {span(sides.interval)})"
    if not sides.off:
        return f"{sentence}; sides are drawn by lot, and 50 % is what votes without a side habit give."
    return (
        f"Side bias: {sentence[0].lower()}{sentence[1:]}. Sides are drawn by lot, so it should be 50 %: some raters press one side "
        "whatever it says. The lot keeps this from favouring an answer, but such votes are noise; look at votes per rater."
    )


def read_pace(pace: Pace) -> str:
    """Median, quartiles, and the share of votes nobody can have read for."""
    if pace.median is None or pace.lower is None or pace.upper is None:
        return "No vote with a time yet."
    untimed = f" {counted(pace.untimed, 'vote')} without a usable time." if pace.untimed else ""
    return (
        f"A vote took {pace.median:.1f} s in the median (middle half {pace.lower:.1f} to {pace.upper:.1f} s); "
        f"{pace.fast} of {pace.votes:,} ({percent(pace.fast / pace.votes)}) were faster than {VERY_FAST_S:g} s.{untimed}"
    )


def read_counts(report: VoteReport) -> str:
    """How many votes count, and that nothing else was dropped."""
    raters = sum(rater.votes > 0 for rater in report.raters)
    sentence = f"{counted(report.votes, 'vote')} by {counted(raters, 'rater')} on {counted(report.pairs, 'pair')} count"
    if report.skips:
        sentence += f"; {counted(report.skips, 'skip')} (no opinion) beside them"
    if report.same_player:
        sentence += (
            f"; {counted(report.same_player, 'vote')} between two samples of one model say nothing of who is preferred"
        )
    if not report.left_out:
        return f"{sentence}. Nothing is left out."
    gone = sum(line.votes for line in report.left_out)
    lines = ", ".join(f"{line.votes:,} {line.reason}" for line in report.left_out)
    return f"{sentence}. Left out by the filters: {gone:,} of {report.total:,} ({lines}); nothing is deleted."


def read_reasons(reasons: Mapping[Reason, int]) -> str:
    """The reasons that went with votes, the most frequent first; empty without any."""
    if not any(reasons.values()):
        return ""
    counts = sorted(reasons.items(), key=lambda one: -one[1])
    return f"Reasons given with votes: {', '.join(f'{reason} {count:,}' for reason, count in counts)}."


def read_decisions(decided: Decided, min_votes: int) -> str:
    """How many pairs the votes decide; filters play no part in it."""
    if not decided.pairs:
        return ""
    return (
        f"{decided.decided:,} of {counted(decided.pairs, 'pair')} decided by a strict majority of at least {min_votes} votes; "
        f"{decided.undecided:,} undecided (enough votes, no majority), {decided.waiting:,} with fewer than {min_votes} "
        "votes."
    )


def verdict(match: Match) -> str:
    """The verdict on two players in a few words."""
    winner = {"a": match.a.label, "b": match.b.label}.get(match.verdict)
    return f"{winner} is preferred" if winner else _VERDICT.get(match.verdict, "")


def percent(share: float) -> str:
    """``54 %``; a share that is not 0 or 1 is never rounded to it."""
    if 0 < share < 0.005:
        return "under 1 %"
    if 0.995 <= share < 1:
        return "over 99 %"
    return f"{share * 100:.0f} %"


def span(interval: Interval) -> str:
    """``43–65 %``; with a decimal where an end would round to the one half it must be told from."""
    ends = (interval.low * 100, interval.high * 100)
    digits = 1 if any(abs(end - 50) < 0.5 for end in ends) else 0
    return f"{ends[0]:.{digits}f}–{ends[1]:.{digits}f} %"
