"""What the tabs of one page share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

#: For every event that is the page's own business: programs are not offered it.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
#: The same without a sign that it works: what is quick, or no click started.
QUIET: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
#: For what every open page asks again and again: no page waits for another's turn.
POLLED: dict[str, Any] = {"concurrency_limit": None, **QUIET}


@dataclass(frozen=True)
class Shared:
    """Handles built by the shell and used by every tab.

    Attributes:
        visitor: ``gr.State`` with the page's :class:`studio.ui.page.access.Visitor`.
        tabs: the tab bar; a handler that returns ``gr.Tabs(selected="compare")`` to it switches tabs.
        compare_run: ``gr.State`` with a run id; a tab that sets it asks Compare to open that run beside the base
            (Compare listens to its ``change``).
        chats: what the visitor's own browser keeps of Compare. It stands outside the tabs: in a tab that is not open yet it
            would not have read the browser's storage when the page loads.
        table: the before/after table this browser made last, kept the same way.
        draft: pairs that this browser is writing (:mod:`studio.services.data.own_pairs`), kept the same way.
        align_run, reward_run, detox_run: ``gr.State`` with a run id; a tab that sets it asks Align, Reward or Toxicity's
            Detox section to open that run. Whoever opens it sets it back to None, so that the same run can be asked for again.
        detox_start: ``gr.State`` with the run id of an adapter that the Detox form shall start from.
        evaluate_run: ``gr.State`` with the run id of an adapter that Toxicity's Before / after section shall preselect. The
            section that answers one of these two sets it back to None, so that the same run can be asked for again.
        show_evaluation: ``gr.State`` with the id of an evaluation that the section shall show, set back to None the same way.
        show_votes: ``gr.State`` with the id of a kept result of the votes, or ``now``, that the Rate tab shall show, set back to None the
            same way.
        compare_visit, toxicity_visit: ``gr.State`` that changes when a person opens that tab by a click, and not when a button
            of another tab leads there and asks for something: what a section would look up anew at a visit might then undo
            what it was asked. See :func:`bind_visits`.
        base_ready: ``gr.State`` with the id of the base that this server fetched last.
        finished_run: ``gr.State`` with the id of the run that this page saw end with an adapter that answers: what is chosen next is
            most likely that one.
        fetch_timer: ticks while a base is being fetched.
    """

    visitor: gr.State
    tabs: gr.Tabs
    compare_run: gr.State
    align_run: gr.State
    reward_run: gr.State
    chats: gr.BrowserState
    table: gr.BrowserState
    draft: gr.BrowserState
    detox_run: gr.State
    detox_start: gr.State
    evaluate_run: gr.State
    show_evaluation: gr.State
    show_votes: gr.State
    compare_visit: gr.State
    toxicity_visit: gr.State
    base_ready: gr.State
    finished_run: gr.State
    fetch_timer: gr.Timer


def bind_visits(shared: Shared) -> None:
    """Have the tab bar tell a tab that it was opened by hand; once all tabs are built. A tab goes by its place: its label is the
    page's language."""
    visits = {"compare": shared.compare_visit, "toxicity": shared.toxicity_visit}
    order = [getattr(tab, "id", None) for tab in shared.tabs.children]

    def opened(event: gr.SelectData) -> dict[Any, Any]:
        visited = visits.get(str(order[event.index]))
        return {visited: time.time_ns()} if visited is not None else {shared.compare_visit: gr.skip()}

    shared.tabs.select(opened, None, list(visits.values()), **POLLED)


#: Seconds between two looks at the disk while the open run moves; and while nothing does: then the page is told of changes
#: (``changes.py``), and looks by itself only in case a proxy keeps that from it.
LIVE_S, IDLE_S = 1.0, 120.0
