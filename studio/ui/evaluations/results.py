"""What a before/after evaluation found, on the page: sentences, figures, charts, transcripts, the table, files."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.domain.evaluations import Evaluation
from studio.errors import NotFoundError
from studio.i18n import Named
from studio.services import Services
from studio.services.evaluations.service import EvaluationStatus
from studio.services.evaluations.statistics import Comparison, compare
from studio.services.evaluations.table import FORMATS, Filter, Format, Which, export, file_name, matching
from studio.ui.evaluations import charts, view
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET
from studio.ui.parts.cover import cover_switch
from studio.ui.parts.downloads import save_after, served
from studio.ui.parts.html import parts
from studio.ui.parts.live_chart import build_live_chart

_WHICH: list[tuple[str, Which]] = [
    ("All pairs", "all"),
    ("Better after", "better"),
    ("Worse after", "worse"),
    ("With an answer over .5", "over"),
    ("Not covered", "uncovered"),
]


@dataclass(frozen=True)
class Reading:
    """An evaluation with its figures."""

    evaluation: Evaluation
    comparison: Comparison
    names: dict[str, str]


class Reader:
    """Reads evaluations and computes their figures; the last one stays for whoever asks next. For all pages together."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._kept: Reading | None = None

    def read(self, status: EvaluationStatus) -> Reading:
        """The evaluation of this status.

        Raises:
            NotFoundError: it was deleted.
        """
        with self._lock:
            kept = self._kept
            known = kept is not None and (kept.evaluation.id, len(kept.evaluation.rows)) == (status.id, status.done)
            if kept is None or not known:
                evaluation = self._services.evaluations.get(status.id)
                comparison = compare(evaluation.rows, evaluation.spec.adapters)
                kept = self._kept = Reading(evaluation, comparison, self._names(evaluation))
            return kept

    def _names(self, evaluation: Evaluation) -> dict[str, str]:
        """Titles of the runs that are still there; alike ones with what tells them apart."""
        spec = evaluation.spec
        hashes = dict(zip((spec.before, *spec.adapters), spec.hashes, strict=True))
        titles = {run.run_id: run.title for run in self._services.runs.list() if run.run_id in hashes}
        return {
            name: f"{title} ({hashes[name]})" if [*titles.values()].count(title) > 1 else title
            for name, title in titles.items()
        }


class EvaluationResults:
    """Draws an empty panel when made; :meth:`draw` fills it (``filters`` in, ``outputs`` out)."""

    def __init__(self, services: Services, chosen: gr.State) -> None:
        self._services = services
        self._reader = Reader(services)
        self._page = gr.State(0)
        self._draw_panel()
        self.filters: list[Any] = [self.words, self.which, self.one, self.order, self.provoking]
        table = [self.pairs, self.where, self.back, self.forth, self._page]
        self.outputs: list[Any] = [
            self.results, self.findings, self.figures, self.toxicity.chart, self.toxicity_box, self.reward.chart, self.ends,
            self.one, *table,
        ]  # fmt: skip
        self._bind(chosen, table)

    def _draw_panel(self) -> None:
        with gr.Column(visible=False, elem_id="eval-results") as self.results:
            self.findings = gr.HTML(elem_id="eval-said", padding=False)
            self.figures = gr.HTML(elem_id="eval-figures", padding=False)
            with gr.Row(equal_height=False):
                with gr.Column(min_width=300) as self.toxicity_box:
                    self.toxicity = build_live_chart("eval-toxicity-chart", charts.HEIGHT)
                with gr.Column(min_width=300):
                    self.reward = build_live_chart("eval-reward-chart", charts.HEIGHT)
            gr.Markdown("## Transcripts")
            cover_switch()
            self.ends = gr.HTML(elem_id="eval-ends", padding=False)
            gr.Markdown("## All pairs")
            with gr.Row(elem_id="eval-find"):
                self.words = gr.Textbox(
                    label="Search",
                    placeholder="words of the question or an answer",
                    max_lines=1,
                    min_width=200,
                    elem_id="eval-words",
                )
                self.which = gr.Dropdown(_WHICH, value="all", label="Show", min_width=170, elem_id="eval-which")
                self.one = gr.Dropdown(
                    [("All adapters", "")],
                    value="",
                    label="Adapter",
                    visible=False,
                    min_width=170,
                    elem_id="eval-one",
                )
                self.order = gr.Dropdown(
                    [("Most improved first", "best"), ("Got worse first", "worst")],
                    value="best",
                    label="Order",
                    min_width=170,
                    elem_id="eval-order",
                )
                self.provoking = gr.Checkbox(
                    False, label="Provoking prompts only", min_width=170, elem_id="eval-provoking"
                )
            self.pairs = gr.HTML(elem_id="eval-pairs", padding=False)
            with gr.Row(elem_id="eval-pages"):
                self.back = gr.Button("‹ Previous", size="sm", min_width=90, elem_id="eval-back")
                self.where = gr.HTML(elem_id="eval-where")
                self.forth = gr.Button("Next ›", size="sm", min_width=90, elem_id="eval-forth")
            with gr.Row():
                self.downloads = {
                    kind: gr.Button(f"Download {kind.upper()}", size="sm", min_width=90, elem_id=f"eval-{kind}")
                    for kind in FORMATS
                }
            self.made = gr.DownloadButton("Download again", visible=False, size="sm", elem_id="eval-saved")

    def draw(self, status: EvaluationStatus | None, *filters: Any) -> dict[Any, Any]:
        """Everything about the evaluation of this status; nothing where it has no rows yet, or there is none."""
        if status is None or not status.done:
            return {self.results: gr.Column(visible=False)}
        reading = self._reader.read(status)
        evaluation, comparison, names = reading.evaluation, reading.comparison, reading.names
        adapters = {name: names.get(name, name) for name in evaluation.spec.adapters}
        toxicity = charts.toxicity_figure(evaluation.rows, adapters)
        return {
            self.results: gr.Column(visible=True),
            self.findings: view.findings_html(evaluation, comparison, names),
            self.figures: view.figures_html(comparison, names),
            self.toxicity_box: gr.Column(visible=toxicity is not None),
            **self.toxicity.show(toxicity),
            **self.reward.show(charts.reward_figure(evaluation.rows, adapters)),
            self.ends: view.ends_html(evaluation),
            self.one: gr.Dropdown(
                choices=[("All adapters", ""), *((Named(label), name) for name, label in adapters.items())],
                visible=len(adapters) > 1,
            ),
            **self._table(reading, 0, *filters),
        }

    def table(self, chosen: str | None, page: int, *filters: Any) -> dict[Any, Any]:
        """A page of the pairs that pass the filters."""
        if not chosen:
            return {self._page: 0}
        return self._table(self._reader.read(self._services.evaluations.status(chosen)), page, *filters)

    def _table(
        self, reading: Reading, page: int, words: str | None, which: Which, one: str | None, order: str, provoking: bool
    ) -> dict[Any, Any]:
        known = one if one in reading.evaluation.spec.adapters else ""
        rows = matching(reading.evaluation, Filter(words or "", which, known or "", provoking))
        last = view.pages(len(rows)) - 1
        page = min(max(0, page), last)
        where = f"Page {page + 1} of {last + 1} · {len(rows):,} of {len(reading.evaluation.rows):,} pairs"
        return {
            self.pairs: view.pairs_html(reading.evaluation, rows, page, reading.names, order == "worst"),
            self.where: parts.quiet(where),
            self.back: gr.Button(interactive=page > 0),
            self.forth: gr.Button(interactive=page < last),
            self._page: page,
        }

    def _bind(self, chosen: gr.State, table: list[Any]) -> None:
        def turn(by: int) -> Any:
            return lambda evaluation_id, page, *values: self.table(evaluation_id, page + by, *values)

        gr.on(
            [self.words.input, *(widget.input for widget in self.filters[1:])],
            guarded(lambda evaluation_id, *values: self.table(evaluation_id, 0, *values)),
            [chosen, *self.filters],
            table,
            trigger_mode="always_last",
            **QUIET,
        )
        for button, by in ((self.back, -1), (self.forth, 1)):
            button.click(guarded(turn(by)), [chosen, self._page, *self.filters], table, **QUIET)
        for kind, button in self.downloads.items():
            save_after(button.click(guarded(self._file(kind)), chosen, self.made, **QUIET), self.made)

    def _file(self, kind: Format) -> Any:
        def make(chosen: str | None) -> Any:
            if not chosen:
                raise NotFoundError("No evaluation is open; choose one first.")
            evaluation = self._services.evaluations.get(chosen)
            path = served(export(evaluation, kind), file_name(evaluation, kind))
            return gr.DownloadButton(value=path, visible=True)

        return make
