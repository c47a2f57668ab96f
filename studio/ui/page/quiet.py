"""Keeps what nobody sees from costing anything: progress that is not shown, timers and lists of tabs that are not open.

Gradio's page finds a component by a walk through the whole page, and does so many times an event; with hundreds of
components what happens unseen has to be rare.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.ui.page.guard import check_sliders
from studio.ui.page.languages import translate_outputs
from studio.ui.page.shared import QUIET, Shared, bind_visits

#: Runs in the page: which of the panels can be seen. One that was never opened is not there yet, nor are its timers.
_FOLLOW = """() => %s.map((id) => {
    const panel = document.getElementById(id);
    return panel ? {__type__: "update", active: panel.getClientRects().length > 0} : {__type__: "update"};
})"""


def finish_page(app: gr.Blocks, shared: Shared) -> None:
    """The last step of building a page, once all its tabs are there."""
    bind_visits(shared)
    check_sliders()
    translate_outputs()
    rest_hidden_timers(app)
    quieten(app, shared.visitor)


def quieten(app: gr.Blocks, keeper: Component) -> None:
    """Have events that show no progress tell ``keeper`` alone how they stand.

    At each message of any event the page tells every component that an event ever reported to. The walk to it begins at the
    top, so ``keeper`` is best the first component of the page.
    """
    for event in app.fns.values():
        if event.show_progress == "hidden":
            event.show_progress_on = [keeper]


def rest_hidden_timers(app: gr.Blocks) -> None:
    """Have the timers in tabs tick only while their tab can be seen. The page does it by itself; a tab that is opened by code
    counts as well."""
    timers = [block for block in app.blocks.values() if isinstance(block, gr.Timer) and tabs_around(block)]
    panels = []
    for timer in timers:
        tab = tabs_around(timer)[0]
        tab.elem_id = tab.elem_id or f"tab-{tab._id}"
        panels.append(tab.elem_id)
    follow = _FOLLOW % json.dumps(panels)
    for block in list(app.blocks.values()):
        if timers and isinstance(block, gr.Tab):
            block.select(None, None, timers, js=follow, **QUIET)


def when_opened(
    block: Any, app: gr.Blocks, handler: Callable[..., Any], inputs: Any, outputs: Any, **options: Any
) -> None:
    """Run ``handler`` whenever the tab of the bar that ``block`` lies in is opened, by a person or by code; where it lies in
    none, as the page loads."""
    tabs = tabs_around(block)
    event = tabs[-1].select if tabs else app.load
    event(handler, inputs, outputs, **{**QUIET, **options})


def tabs_around(block: Any) -> list[gr.Tab]:
    """The tabs that have to be open for ``block`` to be seen, the innermost first."""
    return [parent for parent in _parents(block) if isinstance(parent, gr.Tab)]


def _parents(block: Any) -> Iterator[Any]:
    while (block := block.parent) is not None:
        yield block
