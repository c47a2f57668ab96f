"""HTML of what the votes say: sentences, the table of player pairs, the bar of sides. Pure; every text from outside is
escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from studio.domain.votes import Decision
from studio.services.votes import reading
from studio.services.votes.quality import RaterShare, SideBias
from studio.services.votes.statistics import Match, VoteReport

#: Player pairs in sentences; the table has all.
MAX_SENTENCES = 6
NO_VOTES = (
    '<div class="empty">No votes yet. Put pairs into the ballot (two answers from <b>Compare</b>, a batch, or a file of '
    "comparisons), share the <b>Rate</b> link or its QR code, and what the votes say appears here while they come in.</div>"
)
ALL_OUT = '<div class="empty">The filters leave out every vote. Press <b>Count every vote</b>, or loosen them one by one.</div>'
NO_OPINIONS = '<div class="empty">Only skips so far: nobody has said which answer is better.</div>'
SECRET = (
    '<div class="empty">Who is preferred is shown here once voting is closed; until then only the operator sees it, since '
    "knowing who leads sways votes.</div>"
)
_VERDICT = {"open": "not yet distinguishable", "none": "no votes"}


def said(report: VoteReport) -> str:
    """Who is preferred, in sentences, the pairs with most votes first; then who cannot be rated."""
    lines = [reading.read_match(match) for match in report.matches if match.votes][:MAX_SENTENCES]
    hidden = sum(match.votes > 0 for match in report.matches) - len(lines)
    if hidden > 0:
        lines.append(f"{hidden} more player pairs stand in the table.")
    if not lines:
        lines = ["Every vote is between two samples of one model: nothing yet on who is preferred."]
    return _list(lines)


def counts(report: VoteReport, decisions: Iterable[Decision], min_votes: int) -> str:
    """What counts, what is left out, how many pairs are decided. Shown at all times, filters open or not."""
    decided = reading.read_decisions(decisions, min_votes)
    lines = [reading.read_counts(report)] if report.total else []
    lines += [decided] if decided else []
    mark = " vote-filtered" if report.left_out else ""
    hint = "" if report.votes else NO_OPINIONS if report.skips else ALL_OUT if report.total else NO_VOTES
    return f'<div class="vote-counts{mark}">' + "".join(f"<p>{escape(line)}</p>" for line in lines) + f"</div>{hint}"


def table(matches: Sequence[Match]) -> str:
    """All player pairs with every count."""
    if not matches:
        return ""
    heads = ("A", "B", "rate of A", "95 % interval", "verdict", "A", "B", "tie", "both bad", "skip", "pairs", "prompts", "raters")  # fmt: skip
    titles = ("", "", "ties and both bad count half", "over prompts", "", "votes for A", "votes for B", "", "", "not counted", "with a vote", "with a vote", "")  # fmt: skip
    head = "".join(f'<th title="{title}">{name}</th>' for name, title in zip(heads, titles, strict=True))
    rows = "".join(_row(match) for match in matches)
    return f'<div class="wide"><table class="strip votes-table"><tr>{head}</tr>{rows}</table></div>'


def _row(match: Match) -> str:
    verdict = {"a": f"{match.a.label} is preferred", "b": f"{match.b.label} is preferred"}.get(
        match.verdict, _VERDICT.get(match.verdict, "")
    )
    side = {"a": "side-support", "b": "side-oppose"}.get(match.verdict, "quiet")
    texts = (
        escape(match.a.label),
        escape(match.b.label),
        "–" if match.rate is None else reading.percent(match.rate),
        reading.span(match.interval) if match.interval else "–",
        f'<span class="{side}">{escape(verdict)}</span>',
    )
    numbers = (
        match.wins,
        match.losses,
        match.ties,
        match.both_bad,
        match.skips,
        match.pairs,
        match.prompts,
        match.raters,
    )
    cells = "".join(f"<td>{text}</td>" for text in texts) + "".join(f'<td class="n">{n:,}</td>' for n in numbers)
    return f"<tr>{cells}</tr>"


def trust(report: VoteReport) -> str:
    """Agreement, sides and pace: whether these votes can be believed."""
    if not report.votes:
        return ""
    return (
        f"<h3>Agreement</h3><p>{escape(reading.read_agreement(report.agreement))}</p>"
        f"<h3>Left and right</h3>{_sides(report.sides)}"
        f"<h3>Care</h3><p>{escape(reading.read_pace(report.pace))}</p>"
    )


def standings(report: VoteReport) -> str:
    """What must be known to read the ratings."""
    if report.standings is None:
        return ""
    lines = reading.read_standings(report.standings, report.players)
    about = (
        "Bradley-Terry ratings on the Elo scale: the difference of two players' points is the chance of one against the other. "
        "Bars are 95 % intervals over prompts."
    )
    return f'<p class="quiet">{about}</p>' + (_list(lines) if lines else "")


def _sides(sides: SideBias) -> str:
    line = escape(reading.read_sides(sides))
    if sides.share is None or sides.interval is None:
        return f"<p>{line}</p>"
    low, high = sides.interval.low * 100, sides.interval.high * 100
    bar = (
        f'<div class="share"><span>left</span><div class="track" role="img" aria-label="{line}">'
        f'<i class="interval" style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
        f'<i class="asked" style="left:50%"></i><i class="point" style="left:{sides.share * 100:.1f}%"></i></div>'
        f"<span>{sides.left:,} of {sides.votes:,}</span></div>"
    )
    return bar + (f'<div class="run-message">{line}</div>' if sides.off else f"<p>{line}</p>")


def rater_names(raters: Iterable[RaterShare], operator: bool) -> dict[str, str]:
    """What a page calls each rater: their name for the operator, a number for everybody else."""
    return {
        rater.id: (rater.name or f"rater {number}") if operator else f"rater {number}"
        for number, rater in enumerate(raters, 1)
    }


def _list(lines: Iterable[str]) -> str:
    return '<ul class="votes-said">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"
