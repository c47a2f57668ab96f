"""What the Align tab shows of a run: measured support beside what was asked for, curves, film-strip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.domain.runs import DpoRecipe, KtoRecipe
from studio.domain.settings import DpoSettings, LoraSettings
from studio.errors import ConflictError
from studio.services import Services
from studio.services.align.reading import read_curve, read_kto_curve
from studio.services.lineage.vector import can_steer
from studio.services.runs.store import RunView
from studio.ui.align.form import KTO_ONLY
from studio.ui.align.words_box import FilmWords, PairWords
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.lines import TABLE
from studio.ui.page.shared import PRIVATE, Shared
from studio.ui.training import run_view
from studio.ui.training.charts import Axis, Curve, training_figure
from studio.ui.training.film_panel import FilmPanel, Frames
from studio.ui.training.form import offer_starts, size_range
from studio.ui.training.watch import Watch, moving

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class AlignPanel(FilmPanel):
    """DPO runs, and uploaded adapters. ``data_box`` holds the table of what will be trained on, above the panel: it closes for a run
    at work."""

    def __init__(self, services: Services, data_box: gr.Accordion | None = None) -> None:
        self.narrow = data_box is not None
        self._data_box = data_box
        super().__init__(services)
        if data_box is not None:
            self.outputs.append(data_box)

    def further(self, state: Watch, run: RunView, everything: bool) -> dict[Any, Any]:
        """As :meth:`FilmPanel.further`; a run at work takes the place of the table."""
        updates = super().further(state, run, everything)
        if everything:
            updates[self.steer] = gr.Button(visible=can_steer(run) and not self._services.compare.served)
            updates |= self.pair_words.opened(run) | self.film_words.opened(run)
        if everything and self._data_box is not None and moving(run):
            updates[self._data_box] = gr.Accordion(open=False)
        return updates

    def owns(self, run: RunView) -> bool:
        """All but reward models and detox runs, which have tabs of their own."""
        return run.method not in ("reward", "detox")

    def draw_result(self) -> None:
        """As :meth:`FilmPanel.draw_result`, and the training pairs."""
        super().draw_result()
        self.pair_words = PairWords(self._services)
        self.outputs += [self.steer, *self.pair_words.outputs]

    def draw_details(self) -> None:
        """As :meth:`FilmPanel.draw_details`, and the words that moved in it."""
        super().draw_details()
        self.film_words = FilmWords(self._services)
        self.outputs += self.film_words.outputs

    def draw_ways(self) -> None:
        """On to the Toxicity tab."""
        self.to_score = gr.Button("Score before / after", size="sm", elem_id="to-score")
        self.to_detox = gr.Button("Detox", size="sm", elem_id="to-detox")
        self.steer = gr.Button("Measure steering vector", size="sm", visible=False, elem_id="measure-vector")

    def bind(self, shared: Shared, app: gr.Blocks, form: list[Any], to_open: gr.State) -> None:
        """As :meth:`FilmPanel.bind`, and the ways to the Toxicity tab."""
        super().bind(shared, app, form, to_open)
        self.pair_words.bind(self.watch)
        self.film_words.bind(self.watch, self.step)
        for button, request in ((self.to_score, shared.evaluate_run), (self.to_detox, shared.detox_start)):
            button.click(
                guarded(lambda state: (state.run_id, gr.Tabs(selected="toxicity"))),
                self.watch,
                [request, shared.tabs],
                **PRIVATE,
            )

        self.steer.click(
            guarded(self._measure_vector),
            [shared.visitor, self.watch],
            self.outcome,
            show_progress_on=self.bar,  # nothing stands there once a run is done
            **TABLE,
            **PRIVATE,
        )

    def _measure_vector(
        self,
        mark: Visitor,
        state: Watch,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
    ) -> str:
        """The steering vector of the open run's answers, in the same table as what training made of them."""
        require_operator(mark, "measuring")
        run_id = state.chosen(self._services.runs).run_id
        self._services.steering.measure(run_id, tell=lambda share, text: progress(share, desc=text))
        return run_view.result(self._services.runs.get(run_id))

    def nothing(self) -> dict[Any, Any]:
        """As :meth:`FilmPanel.nothing`, and no pairs."""
        return super().nothing() | {self.pair_words.box: gr.Accordion(visible=False)}

    def frames(self, run_id: str) -> Frames:
        """The film-strip as recorded."""
        return self._services.runs.samples(run_id)

    def strip_html(self, frames: Any, at: int) -> str:
        """As :func:`run_view.film_strip`."""
        return run_view.film_strip(frames, at)

    def curve_notes(self, state: Watch, run: RunView) -> list[str]:
        """How to read the curves."""
        steps, probes = state.steps(run.run_id), state.probes(run.run_id)
        recipe = run.recipe
        if isinstance(recipe, KtoRecipe):
            return read_kto_curve(steps, probes)
        if not isinstance(recipe, DpoRecipe):
            return []
        return read_curve(steps, probes, loss_type=recipe.settings.loss_type, support_ratio=recipe.support_ratio)

    def figure(self, curves: Sequence[Curve], axis: Axis) -> Figure:
        """As :func:`charts.training_figure`."""
        return training_figure(curves, axis)

    def repeat(self, run: RunView) -> list[Any]:
        """Values of the Align form."""
        recipe = run.recipe
        if not isinstance(recipe, DpoRecipe | KtoRecipe):
            raise ConflictError(f"{run.run_id} was uploaded without a recipe; there are no settings to reuse.")
        dataset, dpo = self._services.datasets.get(recipe.dataset_id), recipe if isinstance(recipe, DpoRecipe) else None
        return [
            recipe.base.id,
            recipe.dataset_id,
            dpo.support_ratio if dpo else gr.skip(),
            gr.Slider(**size_range(len(dataset.rated or dataset.pairs)), value=recipe.data_size),
            dpo.shuffle if dpo else gr.skip(),
            recipe.system_prompt,
            "",
            recipe.preset,
            offer_starts(self._services.align.starts(recipe.base.id), recipe.start_run),
            *(getattr(recipe.settings, name, gr.skip()) for name in KTO_ONLY),
            *(getattr(recipe.lora, name) for name in LoraSettings.declared()),
            *(getattr(recipe.settings, name, gr.skip()) for name in DpoSettings.declared()),
        ]
