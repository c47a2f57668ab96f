"""The training charts: every point, one figure, zoom kept while it updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from studio.domain.events import DetoxEvent, ProbeEvent, StepEvent
from studio.ui.page.languages import AS_WRITTEN
from studio.ui.page.theme import OPPOSE_COLOR, PALETTE, SUPPORT_COLOR
from studio.ui.parts.figures import label, styled

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Axis = Literal["step", "epoch", "seconds"]
_TITLES = ("Held-out stance (share for support)", "Rewards and margin", "Loss", "Accuracy")
_REWARD_TITLES = ("Held-out accuracy", "Rewards and margin", "Loss", "Accuracy in training")
#: Row and column of each chart in the grid.
_STANCE, _REWARDS, _LOSS, _ACCURACY = (1, 1), (1, 2), (2, 1), (2, 2)


@dataclass(frozen=True)
class Curve:
    """One run's events under the name its legend shows. Of a detox run ``detox`` holds the steps and ``terms`` the names of the
    parts of its reward."""

    run_id: str
    name: str
    support_ratio: float
    steps: Sequence[StepEvent]
    probes: Sequence[ProbeEvent]
    detox: Sequence[DetoxEvent] = ()
    terms: Sequence[str] = ()


def training_figure(curves: Sequence[Curve], axis: Axis = "step", reward: bool = False) -> Figure:
    """Held-out stance (of a ``reward`` run: accuracy), rewards with margin, loss and accuracy of one or several runs, in a 2 x 2
    grid.

    With one run the rewards of both answers are drawn; with several only the margins, to stay readable.
    """
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    titles = _REWARD_TITLES if reward else _TITLES
    figure = make_subplots(rows=2, cols=2, subplot_titles=titles, horizontal_spacing=0.08, vertical_spacing=0.16)
    alone = len(curves) == 1
    for number, curve in enumerate(curves):
        color = PALETTE[number % len(PALETTE)]
        name = label(curve.name)
        x = [position(s, axis) for s in curve.steps]

        def line(
            y: list[float], name: str, place: tuple[int, int], colour: str, x: list[float] = x, **more: object
        ) -> None:
            figure.add_trace(
                Scatter(x=x, y=y, name=name, line={"color": colour, "width": 2}, hovertemplate="%{y:.4g}", **more),
                *place,
            )

        losses = [s.loss for s in curve.steps]
        legend: dict[str, Any] = {"legendgroup": curve.run_id, "showlegend": not alone}
        line(losses, name, _LOSS, color, meta=AS_WRITTEN, **legend)
        if alone:
            line([s.reward_chosen for s in curve.steps], "preferred", _REWARDS, SUPPORT_COLOR)
            line([s.reward_rejected for s in curve.steps], "not preferred", _REWARDS, OPPOSE_COLOR)
        line([s.margin for s in curve.steps], "margin", _REWARDS, color, legendgroup=curve.run_id, showlegend=alone)
        line(
            [s.accuracy for s in curve.steps], "accuracy", _ACCURACY, color, legendgroup=curve.run_id, showlegend=False
        )
        seconds = {s.step: (s.epoch, s.elapsed) for s in curve.steps}
        probe_x = [_probe_position(p, axis, seconds) for p in curve.probes]
        line(
            [p.share for p in curve.probes],
            "held-out accuracy" if reward else "stance",
            _STANCE,
            color,
            x=probe_x,
            mode="lines+markers",
            legendgroup=curve.run_id,
            showlegend=False,
        )
        if (
            curve.probes and not reward and not math.isnan(curve.support_ratio)
        ):  # an adapter made elsewhere has no known ratio
            figure.add_hline(y=curve.support_ratio, line={"color": color, "width": 1, "dash": "dot"}, row=1, col=1)
    if alone:
        # no preference yet: before its first update a model equals its reference, whatever the loss
        equal = curves[0].steps[0].loss if curves[0].steps and not reward else 0.6931
        figure.add_hline(y=equal, line={"color": "#999", "width": 1, "dash": "dot"}, row=2, col=1)
    if reward:
        figure.add_hline(y=0.5, line={"color": "#999", "width": 1, "dash": "dot"}, row=1, col=1)
    elif any(len(curve.steps) > 1 for curve in curves) and not any(curve.probes for curve in curves):
        # the probe looks at the base behind the first step, wherever there is something to look at
        figure.add_annotation(text="no held-out pairs in this data", showarrow=False, row=1, col=1)
    for row, col in (_STANCE, _ACCURACY):
        figure.update_yaxes(range=[-0.03, 1.03], row=row, col=col)
    finish(figure, axis, curves)
    if alone:  # its three lines are those of one chart
        inside = {
            "orientation": "h",
            "x": 0.55,
            "y": 0.99,
            "xanchor": "left",
            "yanchor": "top",
            "bgcolor": "rgba(0,0,0,0)",
        }
        figure.update_layout(legend=inside, meta={"legend_in": 1})
        values = [
            v for s in curves[0].steps for v in (s.reward_chosen, s.reward_rejected, s.margin) if math.isfinite(v)
        ]
        if values:  # with room for the legend above the lines
            low, high = min(values), max(values)
            room = high - low or 1.0
            figure.update_yaxes(range=[low - 0.05 * room, high + 0.3 * room], row=_REWARDS[0], col=_REWARDS[1])
    return figure


def finish(figure: Figure, axis: Axis, curves: Sequence[Curve]) -> Figure:
    """The grid, the margins and the legend that the charts of all methods share: two rows of charts of these curves."""
    styled(
        figure,
        height=480,
        margin={"l": 44, "r": 12, "t": 36, "b": 40},
        hovermode="x unified",
        legend={"orientation": "h", "y": -0.12},
        # The same revision tells Plotly that this is the same picture with more points: zoom and pan stay.
        uirevision="|".join([axis, *(c.run_id for c in curves)]),
    )
    figure.update_xaxes(title_text=axis, row=2)
    figure.update_xaxes(rangemode="tozero")
    figure.update_annotations(font_size=16)
    return figure


def position(event: StepEvent | DetoxEvent, axis: Axis) -> float:
    """Where a step stands on the horizontal axis."""
    return {"step": float(event.step), "epoch": event.epoch, "seconds": event.elapsed}[axis]


def _probe_position(probe: ProbeEvent, axis: Axis, seen: dict[int, tuple[float, float]]) -> float:
    if axis == "step":
        return float(probe.step)
    epoch, elapsed = seen.get(probe.step, (0.0, 0.0))
    return epoch if axis == "epoch" else elapsed
