"""A run panel with a film-strip: the same prompts answered again and again while the run trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gradio as gr

from studio.domain.events import SampleEvent, TranscriptEvent
from studio.services.runs.store import RunView
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.training.run_panel import RunPanel
from studio.ui.training.watch import Watch, moving

Frames = Sequence[SampleEvent] | Sequence[TranscriptEvent]


class FilmPanel(RunPanel):
    """Runs that change answers: the film-strip between charts and log, and the way to Compare below the result."""

    film_label: ClassVar[str] = "Film-strip at step"

    def frames(self, run_id: str) -> Frames:
        """What was answered so far."""
        raise NotImplementedError

    def strip_html(self, frames: Any, at: int) -> str:
        """The answers of the newest frame up to step ``at``."""
        raise NotImplementedError

    def draw_result(self) -> None:
        """The way to Compare."""
        with gr.Row(visible=False, elem_id=self._id("done-buttons")) as self.done_buttons:
            self.to_chat = gr.Button("Compare", variant="primary", size="sm", elem_id=self._id("to-chat"))
            self.draw_ways()
        self.outputs.append(self.done_buttons)

    def draw_ways(self) -> None:
        """Draw further buttons beside *Compare*."""

    def draw_details(self) -> None:
        """The film-strip."""
        self.step = gr.Slider(0, 1, value=1, step=1, label=self.film_label, elem_id=self._id("film-step"))
        self.strip = gr.HTML(elem_id=self._id("film-strip"))
        self.outputs += [self.step, self.strip]

    def further(self, state: Watch, run: RunView, everything: bool) -> dict[Any, Any]:
        """The film-strip, and whether there is something to compare."""
        updates = self._film(state, run.run_id)
        if everything:
            updates[self.done_buttons] = gr.Row(visible=run.has_adapter and not moving(run))
        return updates

    def nothing(self) -> dict[Any, Any]:
        """No film-strip, nothing to compare."""
        return {self.done_buttons: gr.Row(visible=False), self.strip: ""}

    def bind(self, shared: Shared, app: gr.Blocks, form: list[Any], to_open: gr.State) -> None:
        """As :meth:`RunPanel.bind`, and the film-strip and the way to Compare."""
        super().bind(shared, app, form, to_open)
        self.step.input(
            guarded(self._turn_film), [self.watch, self.step], self.strip, trigger_mode="always_last", **QUIET
        )
        self.to_chat.click(
            guarded(lambda state: (state.run_id, gr.Tabs(selected="compare"))),
            self.watch,
            [shared.compare_run, shared.tabs],
            **PRIVATE,
        )

    def _film(self, state: Watch, run_id: str) -> dict[Any, Any]:
        frames = self.frames(run_id)
        last = max((s.step for s in frames), default=1)
        updates: dict[Any, Any] = {}
        if (last, state.follow) != state.shown_end:
            state.shown_end = last, state.follow
            end: dict[str, Any] = {"value": last} if state.follow else {}
            updates[self.step] = gr.Slider(maximum=max(1, last), **end)
        if not state.follow:
            return updates
        html = self.strip_html(frames, last)
        if html != state.shown_film:  # drawn anew, covers that a person took off would be on again
            state.shown_film = html
            updates[self.strip] = html
        return updates

    def _turn_film(self, state: Watch, at: float) -> str:
        if state.run_id is None:
            return ""
        frames = self.frames(state.run_id)
        state.follow = at >= max((s.step for s in frames), default=0)
        state.shown_film = self.strip_html(frames, int(at))
        return state.shown_film
