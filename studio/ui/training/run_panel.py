"""The lower half of a tab that trains: the open run while it trains and after, and the history of such runs.

What is the same for every method stands here; ``ui/align/panel.py`` and ``ui/reward/panel.py`` say what their runs show.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.domain.runs import RESUMABLE
from studio.errors import ConflictError
from studio.i18n import Named
from studio.services.files.bin import KEPT_DAYS
from studio.services.recipes.presets import Preset
from studio.services.runs.outlook import offered
from studio.services.runs.reading import measuring_off
from studio.services.runs.status import StopMode
from studio.services.runs.store import RunView
from studio.ui.page.access import Visitor, may_read_runs, require_operator
from studio.ui.page.changes import RUNS, marked, seen_in, when_changed
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import IDLE_S, LIVE_S, POLLED, PRIVATE, QUIET, Shared
from studio.ui.parts.html import parts
from studio.ui.training import run_view
from studio.ui.training.charts import Axis, Curve
from studio.ui.training.run_widgets import RunWidgets
from studio.ui.training.watch import Watch, ahead_of, moving, to_watch

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: Ticks between two looks at all runs while the open one moves.
HISTORY_EVERY = 3

_NO_LOG = "A run's log is the operator's to read here (STUDIO_VISITORS_READ_RUNS)."


class RunPanel(RunWidgets):
    """Draws the panel when made (inside a ``gr.Blocks``); :meth:`bind` connects it.

    Every handler that returns updates keyed by component takes ``outputs``. A subclass names its runs and says what is shown of
    them; what it draws itself (:meth:`draw_result`, :meth:`draw_details`) it adds to ``outputs``.
    """

    # -- what a subclass says of its runs -----------------------------------------------------------------------------

    def owns(self, run: RunView) -> bool:
        """Whether a run is of the kind this panel shows."""
        raise NotImplementedError

    def curve_notes(self, state: Watch, run: RunView) -> list[str]:
        """Sentences on the curves."""
        raise NotImplementedError

    def figure(self, curves: Sequence[Curve], axis: Axis) -> Figure:
        """The curves of the open run and those laid over it."""
        raise NotImplementedError

    def further(self, state: Watch, run: RunView, everything: bool) -> dict[Any, Any]:
        """Updates of what the subclass drew: for an opened run (``everything``) or one that moved."""
        return {}

    def nothing(self) -> dict[Any, Any]:
        """Updates of what the subclass drew, where no run is open."""
        return {}

    def repeat(self, run: RunView) -> list[Any]:
        """The form's values for a run that is to be repeated."""
        raise NotImplementedError

    def repeat_with(self, run: RunView, preset: Preset[Any]) -> list[Any]:
        """The same with the settings of ``preset``, but the run's seed."""
        settings = replace(preset.settings, seed=run.recipe.settings.seed) if run.recipe.settings else preset.settings
        recipe: Any = replace(run.recipe, preset=preset.name, lora=preset.lora, settings=settings)
        return self.repeat(replace(run, recipe=recipe))

    # -- drawing ------------------------------------------------------------------------------------------------------

    def open_run(self, state: Watch, run_id: str | None, axis: str) -> dict[Any, Any]:
        """Show another run."""
        with state.lock:
            state.open(run_id)
            return self._all(state, axis)

    def attach(self, state: Watch, axis: str, requested: str | None = None) -> dict[Any, Any]:
        """The panel comes into view. At first it shows the run that another tab asked for, else the one that works, else the newest;
        later what changed meanwhile."""
        with state.lock:
            if not state.new:
                return self.tick(state, axis)
            state.new = False
            listed = self._listed()
            if state.run_id is None:
                state.open(requested or to_watch(listed))
            return self._all(state, axis, listed)

    def tick(self, state: Watch, axis: str, seen: str | None = None) -> dict[Any, Any]:
        """What changed since the last look; nothing mostly, where no run moves. ``seen`` is what the page's head shows (run and state)."""
        runs = self._services.runs
        with state.lock:
            state.ticks += 1
            run = state.run(runs)
            listed = None
            if run is None:  # none yet, or deleted or discarded meanwhile
                listed = self._listed()
                if state.run_id is not None or listed:
                    state.open(to_watch(listed))
                    return self._all(state, axis, listed)
            updates: dict[Any, Any] = {}
            if run is not None:
                missed = seen is not None and seen != _token(run.run_id, state.shown_state)
                if missed or run.status.state != state.shown_state:
                    return self._all(state, axis)
                if moving(run):
                    updates = self._run(state, run, axis, everything=False)
            if not (run and moving(run)) or state.ticks % HISTORY_EVERY == 0:
                updates |= self._history(state, listed if listed is not None else self._listed())
            return updates or {self.head: gr.skip()}

    def _all(self, state: Watch, axis: str, listed: list[RunView] | None = None) -> dict[Any, Any]:
        listed = self._listed() if listed is None else listed
        run = state.run(self._services.runs)
        state.shown_state = run.status.state if run else ""
        live = run is not None and moving(run)
        state.interval = LIVE_S if live else IDLE_S
        updates = {
            self.timer: gr.Timer(state.interval),
            self.discard_row: gr.Row(visible=False),
            self.sure_row: gr.Row(visible=False),
            self.overlay: self._overlay(state, listed),
            self.reuse: gr.Button(interactive=run is not None and run.method != "unknown"),
            self.resume_buttons: gr.Row(visible=run is not None and run.status.state in RESUMABLE),
            self.delete: gr.Button(interactive=run is not None and (not live or run.status.state == "queued")),
            **self._history(state, listed),
        }
        return updates | (self._run(state, run, axis, everything=True) if run else self._none())

    def _none(self) -> dict[Any, Any]:
        hidden = {row: type(row)(visible=False) for row in (self.live_buttons, self.details)}
        texts = dict.fromkeys((self.bar, self.outcome, self.reading, self.log), "")
        return {self.head: self.view.empty(), **texts, **hidden, **self.chart.show(None), **self.nothing()}

    def _run(self, state: Watch, run: RunView, axis: str, everything: bool) -> dict[Any, Any]:
        runs, live, stopping = self._services.runs, moving(run), run.status.state == "stopping"
        fresh = state.read(runs)
        ahead = ahead_of(run, runs.list()) if run.status.state == "queued" else 0
        texts: dict[Any, str] = {
            self.bar: run_view.progress(run, ahead),
            self.log: run_view.log(runs.log_tail(run.run_id))
            if may_read_runs(self._services)
            else parts.message(_NO_LOG),
        }
        updates: dict[Any, Any] = {}
        if everything:
            state.shown_texts = {}
            updates |= {
                self.head: marked(self.view.header(run), _token(run.run_id, run.status.state)),
                self.outcome: self.view.result(run),
                self.live_buttons: gr.Row(visible=live),
                self.keep: gr.Button(interactive=not stopping),
                self.discard: gr.Button(interactive=not stopping),
                self.details: gr.Column(visible=run.method != "unknown"),
            }
        if fresh or everything:
            notes = [*self.curve_notes(state, run), measuring_off(run)]
            texts[self.reading] = "\n".join(f"- {sentence}" for sentence in notes if sentence)
            updates |= self._draw(state, axis) | self.further(state, run, everything)
        updates |= {part: text for part, text in texts.items() if state.shown_texts.get(part) != text}
        state.shown_texts |= texts
        if everything or (offered(run) is not None) != state.offered:
            state.offered = offered(run) is not None
            updates[self.faster] = gr.Button(visible=state.offered)
        return updates

    def _draw(self, state: Watch, axis: str) -> dict[Any, Any]:
        curves = state.curves(self._services.runs)
        return self.chart.show(self.figure(curves, axis) if curves else None)  # type: ignore[arg-type]

    def _listed(self) -> list[RunView]:
        return [run for run in self._services.runs.list() if self.owns(run)]

    def _history(self, state: Watch, listed: list[RunView]) -> dict[Any, Any]:
        lines = [self.view.history_row(run) for run in listed]
        if lines == state.shown_history:
            return {}
        state.shown_history = lines
        return {self.history: lines, self.overlay: self._overlay(state, listed)}

    def _overlay(self, state: Watch, listed: list[RunView]) -> Any:
        begun = [r for r in listed if r.run_id != state.run_id and (r.last_step or r.detox_step)]
        others = [(Named(r.title, r.run_id), r.run_id) for r in begun]
        state.overlay = [run_id for run_id in state.overlay if run_id in {value for _, value in others}]
        return gr.Dropdown(choices=others, value=state.overlay)

    # -- what a person does -------------------------------------------------------------------------------------------

    def _stop(self, mark: Visitor, state: Watch, axis: str, mode: StopMode) -> dict[Any, Any]:
        require_operator(mark, "stopping a run")
        runs = self._services.runs
        with state.lock:
            runs.stop(state.chosen(runs).run_id, mode)
            if state.run(runs) is None:  # it was still waiting, so it is gone at once
                state.open(to_watch(self._listed()))
            return self._all(state, axis)

    def _ask_discard(self, mark: Visitor, state: Watch) -> tuple[Any, str]:
        require_operator(mark, "stopping a run")
        run_id = state.chosen(self._services.runs).run_id
        return gr.Row(visible=True), f"Stop **{run_id}** and throw away what it has trained? This cannot be undone."

    def _resume(self, mark: Visitor, state: Watch, axis: str, device: str = "") -> dict[Any, Any]:
        require_operator(mark, "resuming a run")
        run_id = state.chosen(self._services.runs).run_id
        self._services.queue.resume(run_id, device)
        return self.open_run(state, run_id, axis)

    def _fill_faster(self, state: Watch) -> list[Any]:
        run = state.chosen(self._services.runs)
        faster = offered(run)
        if faster is None:
            raise ConflictError(f"Run {run.run_id} has ended meanwhile; use Reuse settings and choose a preset.")
        gr.Info(f"The form holds this run's data with {faster.sentence}. Stop this run, then train.")
        return self.repeat_with(run, faster.preset)

    def _ask_delete(self, mark: Visitor, state: Watch) -> tuple[Any, str]:
        require_operator(mark, "deleting a run")
        run_id = state.chosen(self._services.runs).run_id
        return (
            gr.Row(visible=True),
            f"Delete **{run_id}** with its adapter, curves and log? The Library keeps it in its bin for {KEPT_DAYS} days.",
        )

    def _delete(self, mark: Visitor, state: Watch, axis: str) -> dict[Any, Any]:
        require_operator(mark, "deleting a run")
        run_id = state.chosen(self._services.runs).run_id
        self._services.library.delete(run_id)
        return self.open_run(state, to_watch(self._listed()), axis)

    def _lay_over(self, state: Watch, chosen: list[str], axis: str) -> dict[Any, Any]:
        with state.lock:
            state.overlay = list(chosen)
            state.read(self._services.runs)
            return self._draw(state, axis)

    def _redraw(self, state: Watch, axis: str) -> dict[Any, Any]:
        with state.lock:
            return self._draw(state, axis)

    def _pick(self, state: Watch, axis: str, event: gr.SelectData) -> dict[Any, Any]:
        return self.open_run(state, event.row_value[-1], axis)

    # -- binding ------------------------------------------------------------------------------------------------------

    def bind(self, shared: Shared, app: gr.Blocks, form: list[Any], to_open: gr.State) -> None:
        """Connect the panel's events. The widgets of ``form`` receive the settings of a run that is to be repeated; ``to_open``
        holds the run another tab asks to open."""
        here, mark = [self.watch, self.axis], shared.visitor
        when_opened(self.timer, app, guarded(self.attach), [*here, to_open], self.outputs)
        looked = seen_in(self._id("run-head"))
        self.timer.tick(guarded(self.tick), [*here, self.seen], self.outputs, **looked, **POLLED)
        when_changed(RUNS, guarded(self.tick), [*here, self.seen], self.outputs, **looked)
        for button, stop in ((self.keep, self._stopper("keep")), (self.discard_sure, self._stopper("discard"))):
            button.click(guarded(stop), [mark, *here], self.outputs, **QUIET)
        self.discard.click(
            guarded(self._ask_discard), [mark, self.watch], [self.discard_row, self.discard_text], **QUIET
        )
        self.go_on.click(lambda: gr.Row(visible=False), None, self.discard_row, **QUIET)
        self.axis.change(guarded(self._redraw), here, self.chart.chart, **QUIET)
        self.history.select(guarded(self._pick), here, self.outputs, **QUIET)
        self.overlay.input(guarded(self._lay_over), [self.watch, self.overlay, self.axis], self.chart.chart, **QUIET)
        self.reuse.click(
            guarded(lambda state: self.repeat(state.chosen(self._services.runs))), self.watch, form, **QUIET
        )
        self.faster.click(guarded(self._fill_faster), self.watch, form, **QUIET)
        self.resume.click(guarded(self._resume), [mark, *here], self.outputs, **QUIET)
        if self._services.queue.lent:
            on_cpu = functools.partial(self._resume, device="cpu")
            self.on_cpu.click(guarded(on_cpu), [mark, *here], self.outputs, **QUIET)
        self.delete.click(guarded(self._ask_delete), [mark, self.watch], [self.sure_row, self.sure_text], **QUIET)
        self.sure.click(guarded(self._delete), [mark, *here], self.outputs, **QUIET)
        self.never_mind.click(lambda: gr.Row(visible=False), None, self.sure_row, **QUIET)

        def opened(run_id: str | None, state: Watch, axis: str) -> dict[Any, Any]:
            # emptied, so that asking for the same run once more is a change again
            return {**self.open_run(state, run_id, axis), to_open: None} if run_id else {to_open: gr.skip()}

        to_open.change(guarded(opened), [to_open, *here], [*self.outputs, to_open], **PRIVATE)

    def _stopper(self, mode: StopMode) -> Callable[..., dict[Any, Any]]:
        return lambda mark, state, axis: self._stop(mark, state, axis, mode)


def _token(run_id: str, state: str) -> str:
    """What the head of the panel shows."""
    return f"{run_id} {state}"
