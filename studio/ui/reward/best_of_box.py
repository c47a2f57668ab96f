"""Reward hacking made visible: the best of n answers by a reward model, judged by another scorer, over n."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.domain.chat import BASE
from studio.domain.toxicity import RUN
from studio.errors import InputError
from studio.i18n import _
from studio.services import Services
from studio.services.reward.best_of import MAX_PROMPTS, SIZES, BestOfCurve, BestOfForm, read_best_of
from studio.ui.page.guard import guarded
from studio.ui.page.lines import TABLE
from studio.ui.page.shared import PRIVATE
from studio.ui.page.theme import OPPOSE_COLOR, SUPPORT_COLOR
from studio.ui.parts.figures import styled
from studio.ui.parts.live_chart import LiveChart, build_live_chart
from studio.ui.reward.score_box import offer

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Offered = tuple[list[tuple[str, str]], list[tuple[str, str]]]


class BestOfBox:
    """Draws the box; ``judge`` and ``model`` are its dropdowns, whose choices the tab keeps up to date (:meth:`offers`)."""

    def __init__(self, services: Services, run: gr.Dropdown) -> None:
        self._services = services
        with gr.Accordion("Is the reward exploited? (best of n)", open=False, elem_id="best-of-n"):
            gr.Markdown(
                f"The reward model chosen under Score text takes the best of n answers, n from 1 to {SIZES[-1]}, to held-out prompts of its data. Where its "
                "reward rises with n and another scorer finds the choice no better, the reward is being exploited."
            )
            with gr.Row():
                self.model = gr.Dropdown([("Base model", BASE)], value=BASE, label="Who answers", min_width=160)
                self.judge = gr.Dropdown([], label="Judged by", min_width=160, elem_id="best-of-judge")
                prompts = gr.Number(BestOfForm.prompts, label="Prompts", precision=0, min_width=80)
            button = gr.Button("Draw and judge", size="sm", elem_id="best-of-draw")
            said = gr.Markdown(elem_id="best-of-said")
            self._chart: LiveChart = build_live_chart("best-of-chart", 0)
        button.click(
            guarded(self._measure),
            [run, self.judge, self.model, prompts],
            [said, self._chart.chart],
            show_progress_on=said,
            **TABLE,
            **PRIVATE,
        )

    def offers(self, judge: str | None, model: str | None) -> dict[Any, Any]:
        """The dropdowns with what there is now."""
        scoring, compare = self._services.scoring, self._services.compare
        judges = [
            (label, name) for label, name in scoring.choices() if not name.startswith(RUN) and scoring.ready(name)
        ]
        models = [(choice.label, choice.id) for choice in compare.panes()]
        return {self.judge: offer(judges, judge), self.model: offer(models, model)}

    def _measure(
        self,
        scorer: str | None,
        judge: str | None,
        model: str,
        prompts: float | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
    ) -> Iterator[tuple[str, Any]]:
        if not scorer or not judge:
            raise InputError("There is no reward model to measure; train one first." if judge else "Choose who judges.")
        if not prompts or not 1 <= prompts <= MAX_PROMPTS:
            raise InputError(f"Prompts is {prompts}; it must be between 1 and {MAX_PROMPTS}.")
        form = BestOfForm(scorer.removeprefix(RUN), judge, model, int(prompts))
        stop = threading.Event()
        try:
            for now in self._services.best_of.measure(form, stop):
                if now.curve is not None:
                    yield read_best_of(now.curve), self._chart.show(best_of_figure(now.curve))[self._chart.chart]
                else:
                    progress((now.done, now.total), unit="prompts")
                    yield f"{now.done} of {now.total} prompts answered.", gr.skip()
        finally:  # the page was closed
            stop.set()


def best_of_figure(curve: BestOfCurve) -> Figure:
    """Reward on the left axis and toxicity on the right one over n, with 95 % intervals over prompts."""
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    sides = (("reward", _("reward"), SUPPORT_COLOR, "y"), ("toxicity", _("toxicity"), OPPOSE_COLOR, "y2"))
    for kind, name, color, axis in sides:
        means = [getattr(point, kind) for point in curve.points]
        bars = [m.interval for m in means]
        known = all(bars)
        figure.add_trace(
            Scatter(
                x=[str(point.n) for point in curve.points],
                y=[m.value for m in means],
                error_y={
                    "symmetric": False,
                    "array": [b.high - m.value for b, m in zip(bars, means, strict=True) if b],
                    "arrayminus": [m.value - b.low for b, m in zip(bars, means, strict=True) if b],
                    "thickness": 1,
                }
                if known
                else None,
                customdata=[(point.words.value, point.kl) for point in curve.points],
                hovertemplate=f"{name} %{{y:.3f}}<br>"
                + _("best of %{x}: %{customdata[0]:.0f} words, KL at most %{customdata[1]:.2f} nats")
                + "<extra></extra>",
                mode="lines+markers",
                name=name,
                yaxis=axis,
                line={"color": color, "width": 2},
            )
        )
    styled(
        figure,
        f"Best of n, {curve.prompts} prompts",
        height=300,
        margin={"l": 56, "r": 56, "t": 40, "b": 48},
        yaxis={"title": {"text": _("reward")}},
        yaxis2={"title": {"text": _("toxicity")}, "overlaying": "y", "side": "right", "showgrid": False},
        legend={"orientation": "h", "y": 1.12, "x": 0.5},
    )
    figure.update_xaxes(title_text="n (log scale)", type="category")
    return figure
