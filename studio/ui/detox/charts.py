"""The charts of a detox run: what it is rewarded for, and what it must not pay for that."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from studio.domain.events import DetoxEvent
from studio.i18n import _
from studio.ui.page.languages import AS_WRITTEN
from studio.ui.page.theme import OPPOSE_COLOR, PALETTE
from studio.ui.parts.figures import label
from studio.ui.training.charts import Axis, Curve, finish, position

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TITLES = (
    "Reward (weighted sum)",
    "Toxicity of the answers",
    "KL to the start (nats per answer)",
    "Tokens per answer",
    "Distinct 3-grams",
    "Share cut at the limit",
)
#: What each chart draws, in the order of the titles.
_VALUES: tuple[Callable[[DetoxEvent], float], ...] = (
    lambda e: e.reward,
    lambda e: e.toxicity,
    lambda e: e.kl,
    lambda e: e.length,
    lambda e: e.distinct,
    lambda e: e.clipped,
)
_SHARES = (2, 5, 6)
_COLUMNS = 3


def detox_figure(curves: Sequence[Curve], axis: Axis = "step") -> Figure:
    """Reward, toxicity, KL, length, distinct 3-grams and share cut of one or several runs, in a 2 x 3 grid.

    With one run the spread of the reward is shaded, its parts are drawn where it has several, and so is the share of answers
    no scorer covers where there are any; with several runs only the means, to stay readable.
    """
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=2, cols=_COLUMNS, subplot_titles=_TITLES, horizontal_spacing=0.06, vertical_spacing=0.18
    )
    alone = len(curves) == 1

    def line(chart: int, x: Sequence[float], y: Sequence[float | None], name: str, **more: Any) -> None:
        figure.add_trace(
            Scatter(x=x, y=y, name=name, **{"hovertemplate": "%{y:.3g}", **more}),
            row=(chart - 1) // _COLUMNS + 1,
            col=(chart - 1) % _COLUMNS + 1,
        )

    for number, curve in enumerate(curves):
        color = PALETTE[number % len(PALETTE)]
        name = label(curve.name)
        x = [position(e, axis) for e in curve.detox]
        if alone:
            edge: dict[str, Any] = {
                "mode": "lines",
                "line": {"width": 0},
                "hoverinfo": "skip",
                "hovertemplate": None,
                "showlegend": False,
            }
            line(1, x, [e.reward - e.reward_sd for e in curve.detox], "", **edge)
            line(
                1, x, [e.reward + e.reward_sd for e in curve.detox], "", fill="tonexty", fillcolor=_faint(color), **edge
            )
        for chart, value in enumerate(_VALUES, 1):
            solid = {"color": color, "width": 2}
            legend = chart == 1 and not alone
            y = [_drawn(value(e)) for e in curve.detox]
            shown = name if legend else _("average")
            line(chart, x, y, shown, meta=AS_WRITTEN, line=solid, legendgroup=curve.run_id, showlegend=legend)
        if alone:
            _parts(curve, x, line)
    for chart in _SHARES:
        row, col = (chart - 1) // _COLUMNS + 1, (chart - 1) % _COLUMNS + 1
        figure.update_yaxes(range=[-0.03, 1.03], row=row, col=col)
    return finish(figure, axis, curves)


def _parts(curve: Curve, x: Sequence[float], line: Callable[..., None]) -> None:
    """What is drawn of a run that stands alone: the parts of its reward, and answers that are not covered."""
    if len(curve.terms) > 1:
        for at, term in enumerate(curve.terms):
            y = [_drawn(e.terms[at]) if at < len(e.terms) else None for e in curve.detox]
            dashed = {"color": PALETTE[(at + 1) % len(PALETTE)], "width": 1.5, "dash": "dot"}
            line(1, x, y, label(term), line=dashed)
    if any(e.uncovered for e in curve.detox):
        dashed = {"color": OPPOSE_COLOR, "width": 1.5, "dash": "dot"}
        line(2, x, [e.uncovered for e in curve.detox], "not covered by a scorer", line=dashed)


def _drawn(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _faint(color: str) -> str:
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},.16)"
