"""*Before / after*: prompts answered by a base and its adapters, scored, and what came of it.

The evaluation is the server's: the page polls it while the Toxicity tab is open, so that a refresh, or another page, finds it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import gradio as gr

from studio.errors import NotFoundError
from studio.i18n import Named
from studio.services import Services
from studio.services.evaluations.service import EvaluationStatus
from studio.ui.evaluations import view
from studio.ui.evaluations.form import EvaluationFormBox, form_from
from studio.ui.evaluations.results import EvaluationResults
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.changes import EVALUATIONS, marked, seen_in, when_changed
from studio.ui.page.guard import guarded
from studio.ui.page.shared import IDLE_S, LIVE_S, POLLED, QUIET, Shared

#: While it is at work, results are drawn anew at every so many parts of the whole.
_STAGES = 8


class CompareSection:
    """Draws the section when made (inside a ``gr.Blocks``); :meth:`bind` connects it.

    ``chosen`` is the id of the evaluation on screen: whoever sets it opens that one. ``results`` is where something about it
    can be added.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.chosen = gr.State(None)
        # what the page shows already: id, state and how far
        self._seen = gr.Textbox(visible=False)
        self._timer = gr.Timer(IDLE_S)
        self.form = EvaluationFormBox(services)
        self.picker = gr.Dropdown([], label="Evaluation", visible=False, elem_id="eval-picker")
        self.progress = gr.HTML(view.empty(), elem_id="eval-progress", padding=False)
        with gr.Row(visible=False) as self.controls:
            self.cancel = gr.Button("Cancel", variant="stop", size="sm", min_width=90, elem_id="eval-cancel")
            self.resume = gr.Button("Resume", size="sm", min_width=90, elem_id="eval-resume")
        self.results = EvaluationResults(services, self.chosen)

    # -- what is shown ------------------------------------------------------------------------------------------------------

    def picks(self, chosen: str | None) -> dict[Any, Any]:
        """The evaluations there are, ``chosen`` or the newest of them open; one at work before any other."""
        evaluations = self._services.evaluations.list()
        ids = [one.id for one in evaluations]
        if chosen not in ids:
            chosen = next((one.id for one in evaluations if one.moving), ids[0] if ids else None)
        labels = [
            (Named(one.spec.title, f"{datetime.fromtimestamp(one.created):%d %b %H:%M}", one.state), one.id)
            for one in evaluations
        ]
        return {
            self.picker: gr.Dropdown(choices=labels, value=chosen, visible=bool(evaluations)),
            self.chosen: chosen,
        }

    def enter(self, chosen: str | None, *offered: Any) -> dict[Any, Any]:
        """Somebody comes to look, by whatever way. ``offered``: values of the form's ``offered``."""
        return {**self.picks(chosen), **self.form.offer(*offered)}

    @property
    def entered(self) -> list[Any]:
        """Outputs of :meth:`enter`."""
        return [self.picker, self.chosen, *self.form.offered]

    def show(self, chosen: str | None, *filters: Any) -> dict[Any, Any]:
        """Everything about an evaluation."""
        if not chosen:
            return {self.progress: view.empty(), self.controls: gr.Row(visible=False), **self.results.draw(None)}
        return self._shown(self._services.evaluations.status(chosen), *filters)

    def tick(self, chosen: str | None, *filters_seen: Any) -> dict[Any, Any]:
        """How far it is; results anew where there is enough that is new: after the filters comes the token of what the page shows."""
        *filters, seen = filters_seen
        if not chosen or seen is None:
            return {self.progress: gr.skip()}
        try:
            status = self._services.evaluations.status(chosen)
        except NotFoundError:  # deleted on another page
            return self.picks(None)
        if _stage(status) != seen:
            return {**self.picks(chosen), **self._shown(status, *filters)}
        return self._moving(status, seen) if status.busy else {self.progress: gr.skip()}

    def _shown(self, status: EvaluationStatus, *filters: Any) -> dict[Any, Any]:
        interval = gr.Timer(LIVE_S if status.busy else IDLE_S)
        drawn = self.results.draw(status, *filters)
        return {**self._moving(status, _stage(status)), **drawn, self._timer: interval}

    def _moving(self, status: EvaluationStatus, seen: str = "") -> dict[Any, Any]:
        """How far it is; ``seen`` says what its results show, where they are drawn."""
        return {
            self.progress: marked(view.progress_html(status), seen),
            self.controls: gr.Row(visible=status.busy or status.resumable),
            self.cancel: gr.Button(interactive=status.busy),
            self.resume: gr.Button(interactive=status.resumable),
        }

    # -- binding --------------------------------------------------------------------------------------------------------------

    def bind(self, shared: Shared, app: gr.Blocks) -> None:
        """Connect the section's events."""
        service, form, filters = self._services.evaluations, self.form, self.results.filters
        picked = [self.picker, self.chosen]
        moving = [self.progress, self.controls, self.cancel, self.resume]
        shown = [*moving, *self.results.outputs, self._timer]

        def begin(mark: Visitor, *values: Any) -> str:
            require_operator(mark, "evaluating")
            return service.start(form_from(self._services, *values))

        def halt(mark: Visitor, chosen: str) -> dict[Any, Any]:
            require_operator(mark, "ending an evaluation")
            service.cancel(chosen)
            return self._moving(service.status(chosen))

        def again(mark: Visitor, chosen: str) -> dict[Any, Any]:
            require_operator(mark, "evaluating")
            service.resume(chosen)
            return self._moving(service.status(chosen))

        looked, seen = [self.chosen, *filters, self._seen], seen_in("eval-progress")
        shared.toxicity_visit.change(guarded(self.enter), [self.chosen, *form.offered], self.entered, **QUIET)
        self._timer.tick(guarded(self.tick), looked, [*picked, *shown], trigger_mode="once", **seen, **POLLED)
        when_changed(EVALUATIONS, guarded(self.tick), looked, [*picked, *shown], **seen)
        self.chosen.change(guarded(self.show), [self.chosen, *filters], shown, **POLLED)
        self.picker.input(lambda evaluation_id: evaluation_id, self.picker, self.chosen, **QUIET)
        form.start.click(guarded(begin), [shared.visitor, *form.values], self.chosen, **QUIET).success(
            guarded(self.picks), self.chosen, picked, **QUIET
        )
        self.cancel.click(guarded(halt), [shared.visitor, self.chosen], moving, **QUIET)
        self.resume.click(guarded(again), [shared.visitor, self.chosen], moving, **QUIET)


def build_compare_section(services: Services, shared: Shared, app: gr.Blocks) -> CompareSection:
    """Draw the section here and connect it."""
    section = CompareSection(services)
    section.bind(shared, app)
    return section


def _stage(status: EvaluationStatus) -> str:
    """What has to change before results are drawn anew."""
    part = status.done if not status.busy else status.done * _STAGES // max(1, status.total) + (status.done > 0)
    return f"{status.id} {status.state} {part}"
