"""A sweep drawn: what was asked for against what was measured. Pure."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from studio.i18n import _
from studio.services.sweeps.blend import share_at
from studio.services.sweeps.result import NAMES, base_share, levels, line_of, value
from studio.services.sweeps.service import SweepView
from studio.ui.page.theme import NEUTRAL_COLOR, OPPOSE_COLOR, PALETTE, SUPPORT_COLOR
from studio.ui.parts.figures import REFERENCE, SHARES, label, styled

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEIGHT = 400
_COLORS = (SUPPORT_COLOR, *PALETTE)


def sweep_figure(view: SweepView) -> Figure | None:
    """Measured shares with their intervals along the axis, the single runs where there are several seeds, what was asked for, the base, and
    the blend where it was measured; None before the first measure."""
    from plotly.graph_objects import Figure, Scatter

    measured, sweep = levels(view), view.sweep
    if not measured:
        return None
    figure = Figure()
    ratios = sweep.axis == "ratio"
    numeric = sweep.axis != "loss"
    lines = [(line, list(group)) for line, group in itertools.groupby(measured, key=lambda level: level.line)]
    if ratios:
        figure.add_trace(Scatter(x=[0, 1], y=[0, 1], mode="lines", name="asked for", line=REFERENCE, hoverinfo="skip"))
    else:
        for asked in sorted({level.asked for level in measured}):
            figure.add_hline(y=asked, line=REFERENCE, annotation_text=f"asked for {asked:.0%}", layer="below")
    for (line, group), color in zip(lines, itertools.cycle(_COLORS)):
        name = label(line) if line else _("trained")
        figure.add_trace(
            Scatter(
                x=[level.at for level in group],
                y=[level.share for level in group],
                name=name,
                mode="lines+markers" if numeric else "markers",
                line={"color": color, "width": 2.5},
                marker={"size": 9},
                error_y=_bars([(level.share, level.interval.low, level.interval.high) for level in group], color),
                customdata=[(level.interval.low, level.interval.high, level.n) for level in group],
                hovertemplate="%{y:.0%} [%{customdata[0]:.0%}, %{customdata[1]:.0%}], n %{customdata[2]}<extra>"
                + name
                + "</extra>",
            )
        )
        if any(level.runs > 1 for level in group):
            runs = [
                (value(planned, sweep.axis), run.adapter_share.share, planned.seed)
                for planned, run in view.pairs()
                if line_of(sweep, planned) == line and run is not None and run.adapter_share and run.adapter_share.n
            ]
            figure.add_trace(
                Scatter(
                    x=[at for at, _, _ in runs],
                    y=[share for _, share, _ in runs],
                    name="one seed each",
                    mode="markers",
                    marker={"color": color, "size": 6, "symbol": "circle-open"},
                    customdata=[seed for _, _, seed in runs],
                    hovertemplate=_("seed %{customdata}: %{y:.0%}") + "<extra></extra>",
                    showlegend=line == lines[0][0],
                )
            )
    if sweep.blend is not None and ratios:
        trained = {run.run: run.ratio for run in sweep.runs}
        points = share_at(sweep.blend, trained[sweep.blend.second], trained[sweep.blend.first])
        figure.add_trace(
            Scatter(
                x=[at for at, share in points if share.n],
                y=[share.share for _, share in points if share.n],
                name="blend of the two ends",
                mode="lines+markers",
                line={"color": PALETTE[1], "width": 2, "dash": "dot"},
                marker={"symbol": "diamond", "size": 8},
                error_y=_bars([(s.share, s.low, s.high) for _, s in points if s.n], PALETTE[1]),
                hovertemplate=f"%{{y:.0%}}<extra>{_('blend')}</extra>",
            )
        )
    if base := base_share(view):
        figure.add_hrect(
            y0=base["low"], y1=base["high"], fillcolor=NEUTRAL_COLOR, opacity=0.13, line_width=0, layer="below"
        )
        figure.add_hline(
            y=base["share"],
            line={"color": OPPOSE_COLOR, "width": 1.5, "dash": "dot"},
            annotation_text=_("base"),
            annotation_position="top left",
            layer="below",
        )
    styled(
        figure,
        height=HEIGHT,
        margin={"l": 56, "r": 12, "t": 16, "b": 50},
        hovermode="closest",
        legend={"orientation": "h", "y": -0.2},
        uirevision=sweep.id,
    )
    figure.update_yaxes(range=[-0.04, 1.04], title_text="measured share", **SHARES)
    figure.update_xaxes(title_text="asked for: support_ratio" if ratios else NAMES[sweep.axis])
    if ratios:
        figure.update_xaxes(range=[-0.04, 1.04], **SHARES)
    elif numeric:
        at = sorted({level.at for level in measured if not isinstance(level.at, str)})
        figure.update_xaxes(type="log", tickvals=at, ticktext=[f"{one:g}" for one in at])
    return figure


def _bars(shares: list[tuple[float, float, float]], color: str) -> dict[str, Any]:
    """Error bars of (share, low, high)."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - share for share, _, high in shares],
        "arrayminus": [share - low for share, low, _ in shares],
        "color": color,
        "thickness": 1.5,
        "width": 5,
    }
