"""The words that moved in a run: the answers of its film-strip, and the pairs it was trained on."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.domain.runs import DpoRecipe
from studio.errors import InputError, NotAllowedError, NotFoundError
from studio.services import Services
from studio.services.runs.store import RunView
from studio.services.words import explain, moved_pair
from studio.ui.page.access import OPERATORS_ROWS, may_read_data, may_read_runs
from studio.ui.page.guard import guarded
from studio.ui.page.lines import MODEL
from studio.ui.page.shared import QUIET
from studio.ui.parts.moved_words import answers_html, pair_html
from studio.ui.training.run_view import frame
from studio.ui.training.watch import Watch, moving


class PairWords:
    """One pair of the open run, token by token, once the run has ended."""

    def __init__(self, services: Services) -> None:
        self._services = services
        with gr.Accordion("Word by word", open=False, visible=False, elem_id="pair-words-box") as self.box:
            self.number = gr.Slider(1, 2, value=1, step=1, label="Pair", elem_id="pair-words-number")
            self.shown = gr.HTML(elem_id="pair-words")
        self.outputs: list[Any] = [self.box, self.number, self.shown]

    def opened(self, run: RunView) -> dict[Any, Any]:
        """The box as it stands when a run is opened or has changed."""
        pairs = len(run.recipe.row_ids) if isinstance(run.recipe, DpoRecipe) else 0
        return {
            self.box: gr.Accordion(visible=bool(pairs) and run.has_adapter and not moving(run), open=False),
            self.number: gr.Slider(maximum=max(2, pairs), value=1),
            self.shown: "",
        }

    def bind(self, watch: gr.State) -> None:
        """Connect it: a pair is read when the box is opened and whenever another is chosen."""
        gr.on(
            [self.box.expand, self.number.input],
            guarded(self._show),
            [watch, self.number],
            self.shown,
            trigger_mode="always_last",
            **MODEL,
            **{**QUIET, "show_progress": "minimal"},
        )

    def _show(self, state: Watch, number: float | None) -> Any:
        if number is None:  # the field is just being typed into
            return gr.skip()
        run = state.chosen(self._services.runs)
        if not isinstance(run.recipe, DpoRecipe):
            raise InputError(f"{run.title} was uploaded without a record of its pairs.")
        if not _may_read(self._services, run.recipe.dataset_id):
            raise NotAllowedError(OPERATORS_ROWS)
        pair = moved_pair(self._services.compare, self._services.runs, run.run_id, int(number))
        return pair_html(pair, int(number), len(run.recipe.row_ids))


class FilmWords:
    """Below the film-strip: what the finished adapter makes of the answers that stand in it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.button = gr.Button("Words that moved", size="sm", visible=False, elem_id="film-words-show")
        self.shown = gr.HTML(elem_id="film-words")
        self.outputs: list[Any] = [self.button, self.shown]

    def opened(self, run: RunView) -> dict[Any, Any]:
        """The button as it stands when a run is opened or has changed."""
        answers = run.has_adapter and not moving(run) and bool(self._services.runs.samples(run.run_id))
        return {self.button: gr.Button(visible=answers), self.shown: ""}

    def bind(self, watch: gr.State, step: gr.Slider) -> None:
        """Connect it; the answers are those at ``step``."""
        self.button.click(
            guarded(self._show),
            [watch, step],
            self.shown,
            show_progress_on=self.button,
            **MODEL,
            **{**QUIET, "show_progress": "minimal"},
        )
        step.input(lambda: "", None, self.shown, **QUIET)

    def _show(self, state: Watch, step: float) -> Any:
        services, run = self._services, state.chosen(self._services.runs)
        _, _, answers = frame(services.runs.samples(run.run_id), int(step))
        return answers_html(
            [
                (sample.prompt, explain(services.compare, services.runs, run.run_id, sample.prompt, sample.answer))
                for _, sample in answers
                if sample.answer.strip()
            ]
        )


def _may_read(services: Services, dataset_id: str) -> bool:
    try:
        return may_read_data(services, dataset_id)
    except NotFoundError:  # deleted since
        return may_read_runs(services)
