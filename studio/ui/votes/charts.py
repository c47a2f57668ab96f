"""Pictures of what the votes say. Pure functions: results in, Plotly figures out."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from studio.i18n import _, n_
from studio.services.statistics.bradley_terry import CENTRE, Standings
from studio.services.votes.quality import VERY_FAST_S, RaterShare
from studio.services.votes.reading import percent, span
from studio.services.votes.statistics import Match, Player
from studio.ui.page.theme import BAD_COLOR, NEUTRAL_COLOR, OPPOSE_COLOR, SUPPORT_COLOR
from studio.ui.parts.figures import REFERENCE, SHARES, label, styled

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: Upper ends of the bars of seconds per vote; the last bar has none.
BINS_S = (VERY_FAST_S, 2, 3, 5, 8, 12, 20, 30, 60, 120)
#: Points of the curve over time; each is an exact running total.
_INSTANTS = 400
#: Names below the bars up to this many raters; more stand in the hover text only.
_NAMED_BARS = 12
#: Pixels of a line in a dot plot, and the longest name in it.
_LINE, _NAME = 46, 18
#: Player pairs drawn; the table has all.
MAX_LINES = 24


def win_rate_figure(matches: Sequence[Match]) -> Figure:
    """A dot with its interval for each player pair, right of the dashed line where the first named is preferred."""
    shown = [match for match in matches if match.rate is not None][:MAX_LINES]
    lines = []
    for match in shown:
        assert match.rate is not None
        ends = (match.interval.low, match.interval.high) if match.interval else None
        color = {"a": SUPPORT_COLOR, "b": OPPOSE_COLOR}.get(match.verdict, NEUTRAL_COLOR)
        a, b = label(match.a.label, _NAME), label(match.b.label, _NAME)
        verdict = {"a": _("preferred: {name}", name=a), "b": _("preferred: {name}", name=b)}.get(
            match.verdict, _("not yet distinguishable")
        )
        interval = (
            _("95 % interval {span}", span=span(match.interval)) if match.interval else _("no interval from one prompt")
        )
        hover = "<br>".join(
            (
                _("{a} against {b}", a=label(match.a.label), b=label(match.b.label)),
                f"{percent(match.rate)}, {interval}",
                n_("{n} vote", "{n} votes", match.votes) + ", " + n_("{n} prompt", "{n} prompts", match.prompts),
                verdict,
            )
        )
        lines.append((_("{a} against {b}", a=f"<b>{a}</b>", b=f"<b>{b}</b>"), match.rate, ends, color, hover))
    figure = _dot_plot(lines)
    figure.add_vline(x=0.5, line=REFERENCE, layer="below")
    figure.update_xaxes(
        range=[-0.02, 1.02],
        **SHARES,
        title_text=_("share of votes for the first named<br>(a tie counts half)"),
    )
    return figure


def rating_figure(standings: Standings, players: Mapping[str, Player]) -> Figure:
    """A dot with its interval for each rated player, best first, one group of comparable players after the other."""
    lines: list[_Line] = []
    for number, group in enumerate(standings.groups, 1):
        for rating in group.ratings:
            ends = (rating.interval.low, rating.interval.high) if rating.interval else None
            interval = (
                _("95 % interval {low} to {high}", low=f"{ends[0]:.0f}", high=f"{ends[1]:.0f}")
                if ends
                else _("no interval")
            )
            where = f" ({_('group {number}', number=number)})" if len(standings.groups) > 1 else ""
            name = players[rating.player].label
            above = f"<b>{label(name, _NAME)}</b> {rating.points:.0f}{where}"
            points = _("{points} points", points=f"{rating.points:.0f}")
            hover = f"{label(name)}{where}<br>{points}, {interval}"
            lines.append((above, rating.points, ends, SUPPORT_COLOR if number == 1 else OPPOSE_COLOR, hover))
    figure = _dot_plot(lines)
    figure.add_vline(x=CENTRE, line=REFERENCE, layer="below")
    figure.update_xaxes(title_text=_("points<br>(100 more win 64 % of votes, 400 more 91 %)"))
    return figure


def time_figure(times: Sequence[float]) -> Figure:
    """The running total of votes over time (``times`` sorted, Unix seconds)."""
    from plotly.graph_objects import Scatter

    figure = _figure("Votes over time", 260)
    if times:
        first, last = times[0], times[-1]
        step = (last - first) / _INSTANTS
        instants = list(times) if len(times) <= _INSTANTS else [first + step * n for n in range(_INSTANTS)] + [last]
        totals = [bisect.bisect_right(times, instant) for instant in instants]
        x = [datetime.fromtimestamp(instant, UTC).replace(tzinfo=None) for instant in instants]
        figure.add_trace(
            Scatter(
                x=x,
                y=totals,
                line={"color": SUPPORT_COLOR, "width": 2, "shape": "hv"},
                mode="lines+markers" if len(times) == 1 else "lines",
                hovertemplate=_("%{y} votes by %{x}") + "<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="time (UTC)")
    figure.update_yaxes(rangemode="tozero")
    return figure


def rater_figure(raters: Sequence[RaterShare], names: Mapping[str, str]) -> Figure:
    """Votes, and skips on top, of each rater, most votes first."""
    from plotly.graph_objects import Bar

    figure = _figure(f"Votes per rater ({len(raters)})", 260)
    # shows who presses one side only, or too fast to have read
    shown = [
        f"{label(names[rater.id])}<br>"
        + _("left {left} of {sided}", left=rater.left, sided=rater.sided)
        + ("" if rater.seconds is None else ", " + _("{seconds} s in the median", seconds=f"{rater.seconds:.1f}"))
        for rater in raters
    ]
    x = list(range(len(raters)))
    for word, values, color in (
        (_("votes"), [rater.votes for rater in raters], SUPPORT_COLOR),
        (_("skips"), [rater.skips for rater in raters], NEUTRAL_COLOR),
    ):
        figure.add_trace(
            Bar(
                x=x,
                y=values,
                name=word,
                marker={"color": color},
                customdata=shown,
                hovertemplate="%{y} %{fullData.name}: %{customdata}<extra></extra>",
            )
        )
    few = len(raters) <= _NAMED_BARS
    figure.update_xaxes(
        showticklabels=few,
        tickvals=x if few else [],
        ticktext=[label(names[rater.id], 12) for rater in raters] if few else [],
        title_text="" if few else "raters, most votes first",
    )
    figure.update_layout(barmode="stack", bargap=0.25 if few else 0.05, showlegend=any(rater.skips for rater in raters))
    return figure


def pace_figure(seconds: Sequence[float]) -> Figure:
    """How many votes took how long; bars of unequal width in seconds, so that none is cut off. The very fast stand out."""
    from plotly.graph_objects import Bar

    counts = [0] * (len(BINS_S) + 1)
    for second in seconds:
        counts[bisect.bisect_right(BINS_S, second)] += 1
    starts = (0, *BINS_S)
    labels = [f"{low:g}–{high:g}" for low, high in zip(starts, BINS_S, strict=False)] + [f"{BINS_S[-1]:g}+"]
    figure = _figure("Seconds per vote", 260)
    colors = [BAD_COLOR, *[SUPPORT_COLOR] * len(BINS_S)]
    figure.add_trace(
        Bar(x=labels, y=counts, marker={"color": colors}, hovertemplate=_("%{x} s: %{y} votes") + "<extra></extra>")
    )
    figure.update_xaxes(type="category", title_text=f"seconds (red: under {VERY_FAST_S:g} s, hardly read)")
    figure.update_layout(bargap=0.08)
    return figure


_Line = tuple[str, float, tuple[float, float] | None, str, str]


def _dot_plot(lines: Sequence[_Line]) -> Figure:
    """Label above, dot and interval below, for each line from the top down: this fits a phone, where names beside the
    dots would leave no room for them. A dot without an interval is hollow."""
    from plotly.graph_objects import Scatter

    figure = _figure("", 84 + _LINE * max(1, len(lines)))
    for n, (above, value, ends, color, hover) in enumerate(lines):
        y = -n
        if ends:
            bar = {"color": color, "width": 5}
            figure.add_trace(Scatter(x=list(ends), y=[y, y], mode="lines", line=bar, opacity=0.45, hoverinfo="skip"))
        marker = {
            "color": color,
            "size": 12,
            "symbol": "circle" if ends else "circle-open",
            "line": {"width": 2, "color": color},
        }
        figure.add_trace(
            Scatter(x=[value], y=[y], mode="markers", marker=marker, hovertemplate=f"{hover}<extra></extra>")
        )
        figure.add_annotation(
            x=0, xref="paper", xanchor="left", y=y + 0.42, yref="y", text=above, showarrow=False, font={"size": 13}
        )
    figure.update_yaxes(visible=False, range=[-len(lines) + 0.55, 0.75], fixedrange=True)
    figure.update_layout(hovermode="closest", margin={"l": 12, "r": 12, "t": 8, "b": 58})
    return figure


def _figure(title: str, height: int) -> Figure:
    from plotly.graph_objects import Figure

    return styled(
        Figure(),
        title,
        height=height,
        margin={"l": 40, "r": 10, "t": 34 if title else 8, "b": 44},
        showlegend=False,
        legend={"orientation": "h", "y": 1.12, "x": 1, "xanchor": "right"},
    )
