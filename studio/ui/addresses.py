"""Addresses inside the page: ``?tab=align&run=<id>`` opens that tab with that run, ``?evaluation=<id>`` that evaluation,
``?votes=<id>`` that kept result of the votes.

The page's script (``page/address.js``) keeps the address bar true as tabs and runs change, and asks here, by a hidden button, to
open the address it was loaded with or that the browser's back button leads to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from studio.errors import InputError
from studio.services import Services
from studio.services.votes.kept import kept_votes
from studio.services.wording import shortened
from studio.ui.page.guard import guarded
from studio.ui.page.shared import POLLED, Shared
from studio.ui.training.run_bar import home_of
from studio.ui.votes.kept_box import NOW

#: Characters of a query that are read; ours have a tenth of that.
_READ = 2000


def place_of(services: Services, query: str, tabs: Sequence[str]) -> dict[str, str]:
    """What an address asks for: ``tab``, one of ``tabs``, and by the name of the request of :class:`Shared` what to open there.
    A run without a tab opens where such runs are trained.

    Raises:
        InputError: there is no such tab, or what is named cannot be an id.
        NotFoundError: there is no such run, evaluation or kept result.
    """
    asked = dict(parse_qsl(query[:_READ]))
    tab, run_id, evaluation_id, votes_id = (asked.get(name, "") for name in ("tab", "run", "evaluation", "votes"))
    if tab and tab not in tabs:
        raise InputError(f"This address names the tab {shortened(tab, 40)!r}; the tabs are {', '.join(tabs)}.")
    if evaluation_id:
        return {"tab": "toxicity", "show_evaluation": services.evaluations.status(evaluation_id[:80]).id}
    if votes_id:
        return {"tab": "rate", "show_votes": NOW if votes_id == NOW else kept_votes(services.rating, votes_id).id}
    if not run_id:
        return {"tab": tab or tabs[0]}
    run = services.runs.get(run_id)
    if tab == "compare":
        return {"tab": tab, "compare_run": run.run_id}
    home, request = home_of(run)
    return {"tab": home.lower(), request: run.run_id}


def bind_addresses(services: Services, shared: Shared, tabs: Sequence[str]) -> None:
    """Connect what opens addresses, once the tabs are there."""
    query = gr.Textbox(visible=False)
    button = gr.Button("Open the address", elem_id="open-address", elem_classes="changed")
    requests = ("align_run", "reward_run", "detox_run", "compare_run", "show_evaluation", "show_votes")

    def opened(query: str) -> dict[Any, Any]:
        place = place_of(services, query, tabs)
        tab = place.pop("tab")
        return {shared.tabs: gr.Tabs(selected=tab), **{getattr(shared, name): one for name, one in place.items()}}

    outputs = [shared.tabs, *(getattr(shared, name) for name in requests)]
    asked: dict[str, Any] = {"js": "() => studioAddress.asked()", "trigger_mode": "always_last", **POLLED}
    button.click(guarded(opened), query, outputs, **asked).failure(
        None, None, None, js="() => studioAddress.refused()", **POLLED
    )
