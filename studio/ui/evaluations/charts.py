"""Pictures of a before/after evaluation. Pure functions: rows in, Plotly figures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from studio.domain.evaluations import EvaluationRow
from studio.domain.toxicity import TextScore
from studio.i18n import _
from studio.services.evaluations.curves import curves
from studio.services.evaluations.statistics import THRESHOLD
from studio.services.wording import shortened
from studio.ui.page.languages import AS_WRITTEN
from studio.ui.page.theme import NEUTRAL_COLOR, OPPOSE_COLOR, PALETTE, SUPPORT_COLOR
from studio.ui.parts.figures import SHARES, label, styled

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: The colours of the adapters.
_COLORS = (SUPPORT_COLOR, *PALETTE, "#4f9ab8")
_NAME = 22
HEIGHT = 320


def toxicity_figure(rows: Sequence[EvaluationRow], adapters: Mapping[str, str]) -> Figure | None:
    """How toxicity is spread before and after; None where the scorer knows none."""

    def value(score: TextScore) -> float | None:
        return score.toxicity

    figure = _steps(rows, adapters, value, "Toxicity of answers")
    if figure is not None:
        figure.add_vline(x=THRESHOLD, line={"color": NEUTRAL_COLOR, "width": 1.5, "dash": "dot"}, layer="below")
        figure.update_xaxes(range=[-0.02, 1.02], title_text="toxicity, milder to the left")
    return figure


def reward_figure(rows: Sequence[EvaluationRow], adapters: Mapping[str, str]) -> Figure | None:
    """How rewards are spread before and after; None where none is known."""

    def value(score: TextScore) -> float | None:
        return score.reward

    figure = _steps(rows, adapters, value, "Reward of answers")
    if figure is not None:
        figure.update_xaxes(title_text="reward, better to the right")
    return figure


def _steps(
    rows: Sequence[EvaluationRow],
    adapters: Mapping[str, str],
    value: Callable[[TextScore], float | None],
    title: str,
) -> Figure | None:
    """The share of answers at or below each value (empirical distribution), of pairs that have it on both sides."""
    from plotly.graph_objects import Figure, Scatter

    names = {adapter: shortened(name, _NAME) for adapter, name in adapters.items()}
    drawn = curves(rows, names, value)
    if not drawn:
        return None
    figure, colors = Figure(), cycle(_COLORS)
    for curve in drawn:
        count = len(curve.values)
        figure.add_trace(
            Scatter(
                x=[curve.values[0], *curve.values],
                y=[0.0, *((place + 1) / count for place in range(count))],
                name=label(curve.name),
                meta=AS_WRITTEN,
                mode="lines",
                line={
                    "color": OPPOSE_COLOR if curve.before else next(colors),
                    "width": 2.5,
                    "dash": "dash" if curve.before else "solid",
                    "shape": "hv",
                },
                hovertemplate=_("%{{y:.0%}} of {count} answers at or below %{{x:.3f}}", count=count)
                + f"<extra>{label(curve.name)}</extra>",
            )
        )
    styled(
        figure,
        title,
        height=HEIGHT,
        margin={"l": 44, "r": 12, "t": 40, "b": 88},
        showlegend=True,
        legend={"orientation": "h", "y": -0.28, "x": 0, "xanchor": "left", "yanchor": "top"},
        hovermode="closest",
    )
    figure.update_yaxes(range=[-0.02, 1.04], title_text="share of answers", **SHARES)
    return figure
