"""What the Detox section shows of a run: its curves and what they say, transcripts under covers, what it came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import gradio as gr

from studio.services.detox.reading import audit, audit_report, read_detox
from studio.services.recipes.presets import Preset
from studio.services.runs.store import RunView
from studio.ui.detox import view as detox_view
from studio.ui.detox.charts import detox_figure
from studio.ui.detox.form_values import form_values
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, Shared
from studio.ui.parts.cover import cover_switch
from studio.ui.training.charts import Axis, Curve
from studio.ui.training.film_panel import FilmPanel, Frames
from studio.ui.training.watch import Watch

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class DetoxPanel(FilmPanel):
    """Detox runs."""

    prefix = "detox-"
    view: ClassVar[Any] = detox_view
    film_label = "Transcripts at step"

    def owns(self, run: RunView) -> bool:
        """Detox runs only."""
        return run.method == "detox"

    def draw_result(self) -> None:
        """The ways on, and the audit note."""
        super().draw_result()
        self.audit = gr.HTML(elem_id="detox-audit")
        self.outputs.append(self.audit)

    def draw_ways(self) -> None:
        """To Before / after."""
        self.to_score = gr.Button("Score before / after", size="sm", elem_id="detox-to-score")

    def draw_details(self) -> None:
        """The transcripts, and the switch that takes their covers off."""
        super().draw_details()
        cover_switch()

    def frames(self, run_id: str) -> Frames:
        """The transcripts as recorded."""
        return self._services.runs.transcripts(run_id)

    def strip_html(self, frames: Any, at: int) -> str:
        """As :func:`detox_view.transcripts`."""
        return detox_view.transcripts(frames, at)

    def curve_notes(self, state: Watch, run: RunView) -> list[str]:
        """How to read the curves."""
        return read_detox(state.detox(run.run_id))

    def further(self, state: Watch, run: RunView, everything: bool) -> dict[Any, Any]:
        """Transcripts, ways on, and the audit note."""
        notes = [audit(state.detox(run.run_id)), *(audit_report(run.detox) if run.detox else [])]
        return {**super().further(state, run, everything), self.audit: detox_view.audit(notes)}

    def nothing(self) -> dict[Any, Any]:
        """No transcripts, no note."""
        return {**super().nothing(), self.audit: ""}

    def figure(self, curves: Sequence[Curve], axis: Axis) -> Figure:
        """As :func:`detox_charts.detox_figure`."""
        return detox_figure(curves, axis)

    def repeat(self, run: RunView) -> list[Any]:
        """Values of the Detox form."""
        return form_values(self._services.detox.again(run.run_id))

    def repeat_with(self, run: RunView, preset: Preset[Any]) -> list[Any]:
        """As :meth:`RunPanel.repeat_with`; a preset also names the reward it was tuned with."""
        form = self._services.detox.again(run.run_id)
        settings = replace(preset.settings, seed=form.settings.seed)
        return form_values(replace(form, preset=preset.name, lora=preset.lora, settings=settings))

    def bind(self, shared: Shared, app: gr.Blocks, form: list[Any], to_open: gr.State) -> None:
        """As :meth:`FilmPanel.bind`, and the way to Before / after."""
        super().bind(shared, app, form, to_open)
        self.to_score.click(guarded(lambda state: state.run_id), self.watch, shared.evaluate_run, **PRIVATE)
