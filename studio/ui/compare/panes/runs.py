"""What the panes say of their runs, and a blend of two saved as one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import gradio as gr

from studio.domain.chat import is_base
from studio.errors import InputError, StudioError
from studio.services import Services
from studio.services.lineage.steps import run_of, steps_of
from studio.services.lineage.vector import is_vector
from studio.services.runs.store import RunView
from studio.ui.compare import talk as talks
from studio.ui.compare.panes import view as show
from studio.ui.compare.panes.cast import Cast
from studio.ui.compare.panes.widgets import PaneWidgets
from studio.ui.compare.talk import Pane, Talk
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.lines import FILES
from studio.ui.page.shared import PRIVATE, Shared


def _base_facts(services: Services, base: str) -> show.BaseFacts:
    try:
        known = services.models.info(base).cached
        fingerprint = services.models.resolve(base)[0].fingerprint if known else ""
    except StudioError:  # the folder is gone; asking will say so
        fingerprint = ""
    compare = services.compare
    room = "" if base == services.models.default_base() else compare.voices.room(base)[0]
    return show.BaseFacts(base, fingerprint, compare.base_check(base), compare.served, room)


def identities(services: Services, widgets: Sequence[PaneWidgets], talk: Talk, cast: Cast) -> dict[Any, Any]:
    """Who answers in each pane."""
    bases = {pane.choice: cast.base_in(pane.choice) for pane in talk.panes}
    facts = {base: _base_facts(services, base) for base in {*bases.values()}}
    return {
        widget.identity: show.identity(
            pane,
            cast.runs[pane.choice],
            facts[bases[pane.choice]],
            talks.system_prompt_of(talk, index),
            cast.trouble_of(pane),
            cast.runs[pane.blend.run_id] if pane.blend else None,
            services.compare.adapter_hash(pane.voice)
            if pane.voice != run_of(pane.voice) and cast.runs[pane.choice]
            else "",
        )
        for index, (widget, pane) in enumerate(zip(widgets, talk.panes, strict=False))
    }


def steps_to_choose(pane: Pane, run: RunView | None) -> gr.Dropdown:
    """The steps of a pane's run that can be asked; not to be seen where there are none."""
    if is_vector(pane.choice):
        run = None
    kept = steps_of(run) if run is not None else ()
    steps = [(f"step {step}", step) for step in (*kept, *([pane.step] if pane.step and pane.step not in kept else []))]
    end = [("the end", 0)] if run is not None and run.has_adapter else []
    return gr.Dropdown(choices=[*end, *steps], value=pane.step or (0 if end else None), visible=bool(steps))


def first_step(services: Services, choice: str) -> int | None:
    """What a pane that takes a run shows: its end, or the newest step of one that is not there yet."""
    if is_base(choice) or is_vector(choice):
        return None
    run = services.runs.get(choice)
    return None if run.has_adapter else next(iter(reversed(steps_of(run))), None)


def bind_saving(services: Services, shared: Shared, widgets: Sequence[PaneWidgets]) -> None:
    """What *Save as an adapter* does, once the panes stand."""

    def save(index: int, mark: Visitor, stored: Any) -> None:
        require_operator(mark, "saving an adapter")
        talk = talks.restore(stored)
        pane = talk.panes[index] if talk is not None and index < len(talk.panes) else None
        if pane is None or pane.blend is None:
            raise InputError("This pane has no blend; choose an adapter under Blend with.")
        if pane.step is not None:
            raise InputError(f"The blend is of step {pane.step}; choose the end under Step to save it.")
        if pane.strength != 1:
            raise InputError(
                f"The blend is at strength {pane.strength:g} and is saved at 1; set the strength to 1, or save it and choose the strength in "
                "the Library."
            )
        run_id = services.library.save_blend(pane.choice, pane.blend.weight, pane.blend.run_id)
        gr.Info(f"Saved as {run_id}; it is in the Library and can be chosen in a pane.", duration=8)

    for index, widget in enumerate(widgets):
        press = guarded(functools.partial(save, index))
        widget.save.click(press, [shared.visitor, shared.chats], None, show_progress_on=widget.save, **FILES, **PRIVATE)
