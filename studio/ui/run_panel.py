"""The lower half of the Align tab: the open run while it trains and after, and the history of all runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from studio.domain import SampleEvent
from studio.errors import ConflictError
from studio.services import Services
from studio.services.reading import read_curve
from studio.services.run_state import StopMode
from studio.services.runs import RunView
from studio.ui import run_view
from studio.ui.access import Visitor, require_operator
from studio.ui.align_form import FormWidgets, recipe_knobs, size_range
from studio.ui.charts import training_figure
from studio.ui.guard import guarded
from studio.ui.live_chart import build_live_chart
from studio.ui.shared import PRIVATE, Shared
from studio.ui.watch import IDLE_S, LIVE_S, Watch, ahead_of, moving, to_watch

QUIET: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
#: Ticks between two looks at all runs while the open one moves.
HISTORY_EVERY = 3
RESUMABLE = ("stopped", "failed", "interrupted")


class RunPanel:
    """Draws the panel when made (inside a ``gr.Blocks``); :meth:`bind` connects it.

    Every handler that returns updates keyed by component takes ``outputs``.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        gr.Markdown("## Run")
        self.head = gr.HTML(run_view.EMPTY, elem_id="run-head")
        self.bar = gr.HTML(elem_id="run-progress")
        with gr.Row(visible=False, elem_id="live-buttons") as self.live_buttons:
            self.keep = gr.Button("Stop and keep", size="sm", elem_id="stop-keep")
            self.discard = gr.Button("Stop and discard", size="sm", variant="stop", elem_id="stop-discard")
        self.outcome = gr.HTML(elem_id="run-result")
        with gr.Row(visible=False) as self.done_buttons:
            self.to_chat = gr.Button("Compare in chat", variant="primary", size="sm", elem_id="to-chat")
        self.reading = gr.Markdown(elem_id="reading")
        with gr.Column(visible=False) as self.details:
            self.axis = gr.Radio(
                ["step", "epoch", "seconds"], value="step", label="Horizontal axis", container=False, elem_id="axis"
            )
            self.chart = build_live_chart("charts", 480)
            self.step = gr.Slider(0, 1, value=1, step=1, label="Film-strip: answers at step", elem_id="film-step")
            self.strip = gr.HTML(elem_id="film-strip")
            with gr.Accordion("Log", open=False):
                self.log = gr.HTML(elem_id="log")
        gr.Markdown("## History")
        self.history = gr.Dataframe(
            headers=run_view.HISTORY_HEADERS,
            datatype=["str", "str", "str", "str", "number", "number", "str", "str", "str", "str"],
            interactive=False,
            wrap=False,
            column_widths=["190px", "100px", "110px", "190px", "64px", "54px", "190px", "70px", "140px", "270px"],
            max_height=360,
            show_row_numbers=False,
            elem_id="history",
            label="Click a line to open the run",
        )
        with gr.Row(equal_height=True):
            self.overlay = gr.Dropdown(
                [], multiselect=True, label="Lay over in the charts", scale=3, min_width=260, elem_id="overlay"
            )
            self.reuse = gr.Button("Reuse settings", size="sm", min_width=120, elem_id="reuse")
            self.resume = gr.Button("Resume", size="sm", min_width=120, elem_id="resume")
            self.delete = gr.Button("Delete", size="sm", min_width=120, variant="stop", elem_id="delete")
        with gr.Row(visible=False, elem_id="sure-row") as self.sure_row:
            self.sure_text = gr.Markdown()
            self.sure = gr.Button("Yes, delete it", variant="stop", size="sm", elem_id="sure")
            self.never_mind = gr.Button("Keep it", size="sm", elem_id="never-mind")
        self.watch = gr.State(Watch())
        self.timer = gr.Timer(LIVE_S)
        self.outputs: list[Any] = [
            self.head,
            self.bar,
            self.live_buttons,
            self.keep,
            self.discard,
            self.outcome,
            self.done_buttons,
            self.reading,
            self.details,
            *self.chart.all(),
            self.step,
            self.strip,
            self.log,
            self.history,
            self.overlay,
            self.reuse,
            self.resume,
            self.delete,
            self.sure_row,
            self.timer,
        ]

    # -- drawing ------------------------------------------------------------------------------------------------------

    def open_run(self, state: Watch, run_id: str | None, axis: str) -> dict[Any, Any]:
        """Show another run."""
        with state.lock:
            state.open(run_id)
            return self._all(state, axis)

    def attach(self, state: Watch, axis: str) -> dict[Any, Any]:
        """On page load: the run that works if there is one, else the newest."""
        state.shown_history = None
        return {**self.open_run(state, to_watch(self._services.runs.list()), axis), **self.chart.load()}

    def tick(self, state: Watch, axis: str) -> dict[Any, Any]:
        """What changed since the last look; nothing mostly, where no run moves."""
        runs = self._services.runs
        with state.lock:
            state.ticks += 1
            run = state.run(runs)
            listed = None
            if run is None:  # none yet, or deleted or discarded meanwhile
                listed = runs.list()
                if state.run_id is not None or listed:
                    state.open(to_watch(listed))
                    return self._all(state, axis, listed)
            updates: dict[Any, Any] = {}
            if run is not None:
                if run.status.state != state.shown_state:
                    return self._all(state, axis)
                if moving(run):
                    updates = self._run(state, run, axis, everything=False)
            if not (run and moving(run)) or state.ticks % HISTORY_EVERY == 0:
                updates |= self._history(state, listed if listed is not None else runs.list())
            return updates or {self.head: gr.skip()}

    def _all(self, state: Watch, axis: str, listed: list[RunView] | None = None) -> dict[Any, Any]:
        listed = self._services.runs.list() if listed is None else listed
        run = state.run(self._services.runs)
        state.shown_state = run.status.state if run else ""
        live = run is not None and moving(run)
        state.interval = LIVE_S if live else IDLE_S
        updates = {
            self.timer: gr.Timer(state.interval),
            self.sure_row: gr.Row(visible=False),
            self.overlay: self._overlay(state, listed),
            self.reuse: gr.Button(interactive=run is not None and run.method == "dpo"),
            self.resume: gr.Button(interactive=run is not None and run.status.state in RESUMABLE),
            self.delete: gr.Button(interactive=run is not None and (not live or run.status.state == "queued")),
            **self._history(state, listed),
        }
        return updates | (self._run(state, run, axis, everything=True) if run else self._none())

    def _none(self) -> dict[Any, Any]:
        hidden = {row: type(row)(visible=False) for row in (self.live_buttons, self.done_buttons, self.details)}
        texts = dict.fromkeys((self.bar, self.outcome, self.reading, self.strip, self.log), "")
        return {self.head: run_view.EMPTY, **texts, **hidden, **self.chart.show(None)}

    def _run(self, state: Watch, run: RunView, axis: str, everything: bool) -> dict[Any, Any]:
        runs, live, stopping = self._services.runs, moving(run), run.status.state == "stopping"
        fresh = state.read(runs)
        ahead = ahead_of(run, runs.list()) if run.status.state == "queued" else 0
        updates: dict[Any, Any] = {
            self.bar: run_view.progress(run, ahead),
            self.log: run_view.log(runs.log_tail(run.run_id)),
        }
        if everything:
            updates |= {
                self.head: run_view.header(run),
                self.outcome: run_view.result(run),
                self.live_buttons: gr.Row(visible=live),
                self.keep: gr.Button(interactive=not stopping),
                self.discard: gr.Button(interactive=not stopping),
                self.done_buttons: gr.Row(visible=run.has_adapter and not live),
                self.details: gr.Column(visible=run.method == "dpo"),
            }
        if fresh or everything:
            steps, probes = state.steps(run.run_id), state.probes(run.run_id)
            said = read_curve(
                steps, probes, loss_type=run.recipe.dpo_settings.loss_type, support_ratio=run.recipe.support_ratio
            )
            updates[self.reading] = "\n".join(f"- {sentence}" for sentence in said)
            updates |= self._draw(state, axis) | self._film(runs.samples(run.run_id), state)
        return updates

    def _draw(self, state: Watch, axis: str) -> dict[Any, Any]:
        curves = state.curves(self._services.runs)
        return self.chart.show(training_figure(curves, axis) if curves else None)  # type: ignore[arg-type]

    def _film(self, samples: list[SampleEvent], state: Watch) -> dict[Any, Any]:
        last = max((s.step for s in samples), default=1)
        if not state.follow:
            return {self.step: gr.Slider(maximum=max(1, last))}
        return {
            self.step: gr.Slider(maximum=max(1, last), value=last),
            self.strip: run_view.film_strip(samples, last),
        }

    def _history(self, state: Watch, listed: list[RunView]) -> dict[Any, Any]:
        lines = [run_view.history_row(run) for run in listed]
        if lines == state.shown_history:
            return {}
        state.shown_history = lines
        return {self.history: lines, self.overlay: self._overlay(state, listed)}

    def _overlay(self, state: Watch, listed: list[RunView]) -> Any:
        others = [(f"{r.title} · {r.run_id}", r.run_id) for r in listed if r.run_id != state.run_id and r.last_step]
        state.overlay = [run_id for run_id in state.overlay if run_id in {value for _, value in others}]
        return gr.Dropdown(choices=others, value=state.overlay)

    # -- what a person does -------------------------------------------------------------------------------------------

    def _stop(self, mark: Visitor, state: Watch, axis: str, mode: StopMode) -> dict[Any, Any]:
        require_operator(mark, "stopping a run")
        runs = self._services.runs
        with state.lock:
            runs.stop(state.chosen(runs).run_id, mode)
            if state.run(runs) is None:  # it was still waiting, so it is gone at once
                state.open(to_watch(runs.list()))
            return self._all(state, axis)

    def _resume(self, mark: Visitor, state: Watch, axis: str) -> dict[Any, Any]:
        require_operator(mark, "resuming a run")
        run_id = state.chosen(self._services.runs).run_id
        self._services.align.resume(run_id)
        return self.open_run(state, run_id, axis)

    def _ask_delete(self, mark: Visitor, state: Watch) -> tuple[Any, str]:
        require_operator(mark, "deleting a run")
        run_id = state.chosen(self._services.runs).run_id
        return gr.Row(visible=True), f"Delete **{run_id}** with its adapter, curves and log? This cannot be undone."

    def _delete(self, mark: Visitor, state: Watch, axis: str) -> dict[Any, Any]:
        require_operator(mark, "deleting a run")
        run_id = state.chosen(self._services.runs).run_id
        self._services.runs.delete(run_id)
        self._services.compare.release(run_id)
        return self.open_run(state, to_watch(self._services.runs.list()), axis)

    def _reuse(self, state: Watch, form: FormWidgets) -> dict[Any, Any]:
        run = state.chosen(self._services.runs)
        recipe = run.recipe
        if run.method != "dpo":
            raise ConflictError(f"{run.run_id} was uploaded without a recipe; there are no settings to reuse.")
        dataset = self._services.datasets.get(recipe.dataset_id)
        values = [
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
        return dict(zip(form.all(), values, strict=True))

    def _lay_over(self, state: Watch, chosen: list[str], axis: str) -> dict[Any, Any]:
        with state.lock:
            state.overlay = list(chosen)
            state.read(self._services.runs)
            return self._draw(state, axis)

    def _redraw(self, state: Watch, axis: str) -> dict[Any, Any]:
        with state.lock:
            return self._draw(state, axis)

    def _turn_film(self, state: Watch, at: float) -> str:
        if state.run_id is None:
            return ""
        samples = self._services.runs.samples(state.run_id)
        state.follow = at >= max((s.step for s in samples), default=0)
        return run_view.film_strip(samples, int(at))

    def _pick(self, state: Watch, axis: str, event: gr.SelectData) -> dict[Any, Any]:
        return self.open_run(state, event.row_value[-1], axis)

    # -- binding ------------------------------------------------------------------------------------------------------

    def bind(self, shared: Shared, app: gr.Blocks, form: FormWidgets) -> None:
        """Connect the panel's events. ``form`` receives the settings of a run that is to be repeated."""
        here, mark = [self.watch, self.axis], shared.visitor
        app.load(guarded(self.attach), here, self.outputs, **QUIET)
        self.timer.tick(guarded(self.tick), here, self.outputs, concurrency_limit=None, **QUIET)
        for button, stop in ((self.keep, self._stopper("keep")), (self.discard, self._stopper("discard"))):
            button.click(guarded(stop), [mark, *here], self.outputs, **QUIET)
        self.axis.change(guarded(self._redraw), here, self.chart.all(), **QUIET)
        self.step.input(
            guarded(self._turn_film), [self.watch, self.step], self.strip, trigger_mode="always_last", **QUIET
        )
        self.history.select(guarded(self._pick), here, self.outputs, **QUIET)
        self.overlay.input(guarded(self._lay_over), [self.watch, self.overlay, self.axis], self.chart.all(), **QUIET)
        self.reuse.click(guarded(lambda state: self._reuse(state, form)), self.watch, form.all(), **QUIET)
        self.resume.click(guarded(self._resume), [mark, *here], self.outputs, **QUIET)
        self.delete.click(guarded(self._ask_delete), [mark, self.watch], [self.sure_row, self.sure_text], **QUIET)
        self.sure.click(guarded(self._delete), [mark, *here], self.outputs, **QUIET)
        self.never_mind.click(lambda: gr.Row(visible=False), None, self.sure_row, **QUIET)
        self.to_chat.click(
            guarded(lambda state: (state.run_id, gr.Tabs(selected="compare"))),
            self.watch,
            [shared.compare_run, shared.tabs],
            **PRIVATE,
        )
        shared.align_run.change(
            guarded(lambda run_id, state, axis: self.open_run(state, run_id, axis)),
            [shared.align_run, *here],
            self.outputs,
            **PRIVATE,
        )

    def _stopper(self, mode: StopMode) -> Callable[..., dict[Any, Any]]:
        return lambda mark, state, axis: self._stop(mark, state, axis, mode)
