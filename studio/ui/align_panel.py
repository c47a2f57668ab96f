"""What the Align tab shows of a run: measured support beside what was asked for, curves, film-strip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.errors import ConflictError
from studio.events import SampleEvent
from studio.services.reading import read_curve
from studio.services.runs import RunView
from studio.ui import run_view
from studio.ui.align_form import recipe_knobs, size_range
from studio.ui.charts import Axis, Curve, training_figure
from studio.ui.guard import guarded
from studio.ui.run_panel import QUIET, RunPanel
from studio.ui.shared import PRIVATE, Shared
from studio.ui.watch import Watch, moving

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class AlignPanel(RunPanel):
    """Runs that change answers: DPO runs, and uploaded adapters."""

    empty = run_view.EMPTY
    headers = run_view.HISTORY_HEADERS
    types = ("str", "str", "str", "str", "number", "number", "str", "str", "str", "str")
    widths = ("190px", "100px", "110px", "190px", "64px", "54px", "190px", "70px", "140px", "270px")

    def owns(self, run: RunView) -> bool:
        """All but reward models, which have a tab of their own."""
        return run.method != "reward"

    def draw_result(self) -> None:
        """The way to Compare."""
        with gr.Row(visible=False) as self.done_buttons:
            self.to_chat = gr.Button("Compare in chat", variant="primary", size="sm", elem_id="to-chat")
        self.outputs.append(self.done_buttons)

    def draw_details(self) -> None:
        """The film-strip."""
        self.step = gr.Slider(0, 1, value=1, step=1, label="Film-strip: answers at step", elem_id="film-step")
        self.strip = gr.HTML(elem_id="film-strip")
        self.outputs += [self.step, self.strip]

    def header(self, run: RunView) -> str:
        """As :func:`run_view.header`."""
        return run_view.header(run)

    def result(self, run: RunView) -> str:
        """As :func:`run_view.result`."""
        return run_view.result(run)

    def said(self, state: Watch, run: RunView) -> list[str]:
        """How to read the curves."""
        steps, probes = state.steps(run.run_id), state.probes(run.run_id)
        recipe = run.recipe
        return read_curve(steps, probes, loss_type=recipe.dpo_settings.loss_type, support_ratio=recipe.support_ratio)

    def figure(self, curves: Sequence[Curve], axis: Axis) -> Figure:
        """As :func:`charts.training_figure`."""
        return training_figure(curves, axis)

    def row(self, run: RunView) -> list[object]:
        """As :func:`run_view.history_row`."""
        return run_view.history_row(run)

    def further(self, state: Watch, run: RunView, everything: bool) -> dict[Any, Any]:
        """The film-strip, and whether there is something to compare."""
        updates = self._film(self._services.runs.samples(run.run_id), state)
        if everything:
            updates[self.done_buttons] = gr.Row(visible=run.has_adapter and not moving(run))
        return updates

    def nothing(self) -> dict[Any, Any]:
        """No film-strip, nothing to compare."""
        return {self.done_buttons: gr.Row(visible=False), self.strip: ""}

    def repeat(self, run: RunView) -> list[Any]:
        """Values of the Align form."""
        recipe = run.recipe
        if run.method != "dpo":
            raise ConflictError(f"{run.run_id} was uploaded without a recipe; there are no settings to reuse.")
        dataset = self._services.datasets.get(recipe.dataset_id)
        return [
            recipe.base.id,
            recipe.dataset_id,
            recipe.support_ratio,
            gr.Slider(**size_range(len(dataset.pairs)), value=recipe.data_size),
            recipe.shuffle,
            recipe.system_prompt,
            "",
            recipe.preset,
            *recipe_knobs(recipe.lora, recipe.dpo_settings),
        ]

    def bind(self, shared: Shared, app: gr.Blocks, form: list[Any], wanted: gr.State) -> None:
        """As :meth:`RunPanel.bind`, and the film-strip and the way to Compare."""
        super().bind(shared, app, form, wanted)
        self.step.input(
            guarded(self._turn_film), [self.watch, self.step], self.strip, trigger_mode="always_last", **QUIET
        )
        self.to_chat.click(
            guarded(lambda state: (state.run_id, gr.Tabs(selected="compare"))),
            self.watch,
            [shared.compare_run, shared.tabs],
            **PRIVATE,
        )

    def _film(self, samples: list[SampleEvent], state: Watch) -> dict[Any, Any]:
        last = max((s.step for s in samples), default=1)
        if not state.follow:
            return {self.step: gr.Slider(maximum=max(1, last))}
        return {
            self.step: gr.Slider(maximum=max(1, last), value=last),
            self.strip: run_view.film_strip(samples, last),
        }

    def _turn_film(self, state: Watch, at: float) -> str:
        if state.run_id is None:
            return ""
        samples = self._services.runs.samples(state.run_id)
        state.follow = at >= max((s.step for s in samples), default=0)
        return run_view.film_strip(samples, int(at))
