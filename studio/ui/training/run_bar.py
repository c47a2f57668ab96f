"""The slim bar above the tabs: the run at work with its progress, *Stop* and *Open*; once it has ended, *Compare*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.services import Services
from studio.services.runs.store import RunView
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.changes import RUNS, when_changed
from studio.ui.page.guard import guarded
from studio.ui.page.shared import IDLE_S, POLLED, QUIET, Shared
from studio.ui.training import run_view
from studio.ui.training.watch import find, moving, to_watch

#: Seconds between two looks while a run moves.
_LOOK_S = 2.0


@dataclass(frozen=True)
class RunBar:
    """The widgets of the bar. ``run`` is the id of the run it shows."""

    row: gr.Row
    line: gr.HTML
    stop: gr.Button
    compare: gr.Button
    open: gr.Button
    close: gr.Button
    run: gr.State
    timer: gr.Timer


def build_run_bar() -> RunBar:
    """Draw it; it is seen while a run moves, and until it is closed after one has ended."""
    with gr.Row(visible=False, elem_id="run-bar") as row:
        line = gr.HTML(elem_id="run-bar-line", padding=False)
        stop = gr.Button("Stop", size="sm", variant="stop", scale=0, min_width=80, elem_id="run-bar-stop")
        compare = gr.Button("Compare", size="sm", variant="primary", scale=0, min_width=100, elem_id="run-bar-compare")
        opens = gr.Button("Open", size="sm", scale=0, min_width=80, elem_id="run-bar-open")
        close = gr.Button("Close", size="sm", scale=0, min_width=80, elem_id="run-bar-close")
    return RunBar(row, line, stop, compare, opens, close, gr.State(None), gr.Timer(IDLE_S))


def bind_run_bar(services: Services, shared: Shared, app: gr.Blocks, bar: RunBar) -> None:
    """Connect it, once the tabs are there."""
    runs = services.runs

    def look(shown: str | None) -> dict[Any, Any]:
        """The run that works or waits, else the one that was shown and has ended."""
        listed = runs.list()
        at_work = [run for run in listed if moving(run)]
        run = find(runs, to_watch(at_work)) or find(runs, shown)
        if run is None:
            return {bar.row: gr.Row(visible=False), bar.run: None, bar.timer: gr.Timer(IDLE_S)}
        busy = moving(run)
        answers = not busy and run.has_adapter and run.method != "reward"
        updates = {
            bar.row: gr.Row(visible=True),
            bar.line: run_view.bar_line(run),
            bar.stop: gr.Button(visible=busy, interactive=run.status.state != "stopping"),
            bar.compare: gr.Button(visible=answers),
            bar.close: gr.Button(visible=not busy),
            bar.run: run.run_id,
            bar.timer: gr.Timer(_LOOK_S if busy else IDLE_S),
        }
        if answers:
            updates |= {shared.finished_run: run.run_id}
        return updates

    def stop(mark: Visitor, run_id: str | None) -> dict[Any, Any]:
        require_operator(mark, "stopping a run")
        if (run := find(runs, run_id)) is not None and moving(run):
            runs.stop(run.run_id, "keep")
        return look(run_id)

    def opened(run_id: str | None) -> dict[Any, Any]:
        run = find(runs, run_id)
        if run is None:
            return {bar.row: gr.Row(visible=False)}
        name, state = home_of(run)
        return {getattr(shared, state): run.run_id, shared.tabs: gr.Tabs(selected=name.lower())}

    def compared(run_id: str | None) -> dict[Any, Any]:
        return {
            shared.compare_run: run_id,
            shared.tabs: gr.Tabs(selected="compare"),
            bar.row: gr.Row(visible=False),
            bar.run: None,
        }

    drawn = [bar.row, bar.line, bar.stop, bar.compare, bar.close, bar.run, bar.timer, shared.finished_run]
    gr.on([app.load, bar.timer.tick], guarded(look), bar.run, drawn, **POLLED)
    when_changed(RUNS, guarded(look), bar.run, drawn)
    bar.stop.click(guarded(stop), [shared.visitor, bar.run], drawn, **QUIET)
    homes = [shared.align_run, shared.reward_run, shared.detox_run, shared.tabs, bar.row]
    bar.open.click(guarded(opened), bar.run, homes, **QUIET)
    bar.compare.click(guarded(compared), bar.run, [shared.compare_run, shared.tabs, bar.row, bar.run], **QUIET)
    bar.close.click(lambda: {bar.row: gr.Row(visible=False), bar.run: None}, None, [bar.row, bar.run], **QUIET)


def home_of(run: RunView) -> tuple[str, str]:
    """The tab in which such runs are trained, and what of :class:`Shared` opens one there."""
    homes = {"reward": ("Reward", "reward_run"), "detox": ("Toxicity", "detox_run")}
    return homes.get(run.method, ("Align", "align_run"))
