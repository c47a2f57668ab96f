"""The Toxicity tab: score text, compare answers before and after, train toxicity away. Each section is built by its own module."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.services import Services
from studio.ui.detox.section import build_detox_section
from studio.ui.evaluations.keep_box import build_keep_box
from studio.ui.evaluations.section import build_compare_section
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET, Shared
from studio.ui.toxicity.score_text import build_score_section

SCORE, COMPARE, DETOX = "toxicity-score", "toxicity-compare", "toxicity-detox"


def build_toxicity_tab(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the tab, its sections, and what brings one of them to the front."""
    with gr.Tabs(elem_id="toxicity-sections") as sections:
        with gr.Tab("Score text", id=SCORE):
            build_score_section(services, shared, app)
        with gr.Tab("Before / after", id=COMPARE) as compare_tab:
            compare = build_compare_section(services, shared, app)
            build_keep_box(services, shared, app, compare)
        with gr.Tab("Detox", id=DETOX):
            build_detox_section(services, shared, app)

    def front(section: str) -> Any:
        return lambda run_id: gr.Tabs(selected=section) if run_id else gr.skip()

    def evaluate(run_id: str | None, chosen: str | None) -> dict[Any, Any]:
        """Before / after with the base on one side and this run on the other."""
        if not run_id:
            return {sections: gr.skip()}
        base = services.runs.get(run_id).recipe.base.id
        return {
            sections: gr.Tabs(selected=COMPARE),
            **compare.enter(chosen, base, None, [run_id], None, None, None),
            shared.evaluate_run: None,
        }

    for request in (shared.detox_run, shared.detox_start):
        request.change(front(DETOX), request, sections, **QUIET)
    shared.evaluate_run.change(
        guarded(evaluate),
        [shared.evaluate_run, compare.chosen],
        [sections, shared.evaluate_run, *compare.entered],
        **QUIET,
    )

    def take_finished(run_id: str | None, chosen: str | None, *offered: Any) -> dict[Any, Any]:
        """The run that has just ended is what people want to evaluate; the rest of the form stays."""
        if not run_id:
            return {compare.chosen: gr.skip()}
        base = services.runs.get(run_id).recipe.base.id
        return compare.enter(chosen, base, offered[1] if offered[0] == base else None, [run_id], *offered[3:])

    def look_at(evaluation_id: str | None, *offered: Any) -> dict[Any, Any]:
        """Before / after with this evaluation open."""
        if not evaluation_id:
            return {sections: gr.skip()}
        entered = compare.enter(evaluation_id, *offered)
        return {sections: gr.Tabs(selected=COMPARE), **entered, shared.show_evaluation: None}

    shared.show_evaluation.change(
        guarded(look_at),
        [shared.show_evaluation, *compare.form.offered],
        [sections, shared.show_evaluation, *compare.entered],
        **QUIET,
    )
    shared.finished_run.change(
        guarded(take_finished),
        [shared.finished_run, compare.chosen, *compare.form.offered],
        compare.entered,
        **QUIET,
    )
    # a button of another tab that leads here tells nobody that the tab was opened
    compare_tab.select(guarded(compare.enter), [compare.chosen, *compare.form.offered], compare.entered, **QUIET)
