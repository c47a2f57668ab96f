"""Keeps what nobody sees from costing anything: progress that is not shown, timers and lists of tabs that are not open; and has what
is drawn at one time come by one event, since each is a request that waits in the queue.

Gradio's page tells every component that an event ever reported to of each message of any event, though it finds one at once
(lookups.js); with hundreds of components what happens unseen has to be rare.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.blocks import Block
from gradio.components import Component

from studio.ui.page.guard import check_sliders
from studio.ui.page.languages import translate_outputs
from studio.ui.page.shared import POLLED, QUIET, Shared, bind_visits

#: Runs in the page: which of the panels can be seen. One that was never opened is not there yet, nor are its timers.
_FOLLOW = """() => %s.map((id) => {
    const panel = document.getElementById(id);
    return panel ? {__type__: "update", active: panel.getClientRects().length > 0} : {__type__: "update"};
})"""


def finish_page(app: gr.Blocks, shared: Shared) -> None:
    """The last step of building a page, once all its tabs are there."""
    gather(app, shared.tabs)
    bind_visits(shared)
    check_sliders()
    translate_outputs()
    rest_hidden_timers(app)
    quieten(app, shared.visitor)


def quieten(app: gr.Blocks, keeper: Component) -> None:
    """Have events that show no progress tell ``keeper`` alone how they stand.

    At each message of any event the page tells every component that an event ever reported to.
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


def gather(app: gr.Blocks, tabs: gr.Tabs) -> None:
    """Gather what is drawn as the page loads: at first what can be seen then, after it what lies in the tabs of ``tabs`` that are not
    open yet; and what is drawn as each tab opens."""
    first = next((tab for tab in tabs.children if isinstance(tab, gr.Tab)), None)
    loads = _taken(app, (app._id, "load"))
    seen = [event for event in loads if all(_seen(block, first) for block in event.outputs)]
    later = [event for event in loads if event not in seen]
    after: Any = app.load
    if seen:
        after = app.load(*together(seen), **POLLED).then
    if later:
        after(*together(later), **POLLED)
    for tab in [block for block in app.blocks.values() if isinstance(block, gr.Tab)]:
        if opened := _taken(app, (tab._id, "select")):
            tab.select(*together(opened), **POLLED)


def together(events: Sequence[BlockFunction]) -> tuple[Callable[..., dict[Any, Any]], list[Any], list[Any]]:
    """One handler for all of them, its inputs and its outputs. One that fails is told of, and keeps no other from being drawn."""
    inputs = list(dict.fromkeys(block for event in events for block in event.inputs))
    outputs = list(dict.fromkeys(block for event in events for block in event.outputs))

    def draw(*values: Any) -> dict[Any, Any]:
        given = dict(zip(inputs, values, strict=True))
        updates: dict[Any, Any] = {}
        for event in events:
            assert event.fn is not None
            try:
                answer = event.fn(*(given[block] for block in event.inputs))
            except gr.Error as error:
                gr.Warning(error.message)
                continue
            updates |= _by_component(event.outputs, answer)
        return updates or {outputs[0]: gr.skip()}

    return draw, inputs, outputs


def _taken(app: gr.Blocks, target: tuple[int, str]) -> list[BlockFunction]:
    """The events that only draw at ``target``, which hear it no more."""
    fns = app.default_config.fns
    followed = {event.trigger_after for event in fns.values()}
    taken = [
        event
        for event in fns.values()
        if target in event.targets and event.fn and not event.js and event._id not in followed
    ]
    for event in taken:
        event.targets = [one for one in event.targets if one != target]
        if not event.targets:
            del fns[event._id]
    return taken


def _seen(block: Block, first: Block | None) -> bool:
    tabs = tabs_around(block)
    return not tabs or tabs[-1] is first


def _by_component(outputs: Sequence[Block], answer: Any) -> dict[Any, Any]:
    """What a handler returns, whichever way it says it."""
    if isinstance(answer, dict) and all(isinstance(key, Block) for key in answer):
        return answer
    if len(outputs) == 1:
        return {outputs[0]: answer}
    return dict(zip(outputs, answer, strict=True))


def tabs_around(block: Any) -> list[gr.Tab]:
    """The tabs that have to be open for ``block`` to be seen, the innermost first."""
    return [parent for parent in _parents(block) if isinstance(parent, gr.Tab)]


def _parents(block: Any) -> Iterator[Any]:
    while (block := block.parent) is not None:
        yield block
