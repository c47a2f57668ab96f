"""The runs behind the panes: which are there, why one cannot answer, which base they share; a blend of two saved as one."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from studio.domain.chat import BASE
from studio.errors import InputError, StudioError
from studio.services import Services
from studio.services.runs.store import RunView
from studio.ui.compare import talk as talks
from studio.ui.compare.panes import view as show
from studio.ui.compare.panes.widgets import PaneWidgets
from studio.ui.compare.talk import Pane, Talk
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.lines import FILES
from studio.ui.page.shared import PRIVATE, Shared


def runs_of(services: Services, talk: Talk) -> dict[str, RunView | None]:
    """The runs of the panes; None for the base and for runs that are gone."""
    runs: dict[str, RunView | None] = {}
    for choice in {choice for pane in talk.panes for choice in pane.adapters}:
        try:
            runs[choice] = None if choice == BASE else services.runs.get(choice)
        except StudioError:
            runs[choice] = None
    return runs


def troubles_of(services: Services, runs: Mapping[str, RunView | None]) -> dict[str, str]:
    """Why a run cannot answer, for those that cannot."""
    troubles = {}
    for choice, run in runs.items():
        if choice == BASE:
            continue
        if run is None:
            troubles[choice] = "This run was deleted."
        elif not run.has_adapter:
            troubles[choice] = f"This run has no adapter yet; it is {run.status.state}."
        elif not _fits(services, run):
            troubles[choice] = "It was trained on another state of its base model; train it anew."
    return troubles


def _fits(services: Services, run: RunView) -> bool:
    """Whether the base here is the one a run was trained on; taken as so where that cannot be told without loading it."""
    base = run.recipe.base
    try:
        here = services.models.resolve(base.id)[0].fingerprint if services.models.info(base.id).cached else ""
    except StudioError:  # the base is gone; asking will say so
        return True
    return not (here and base.fingerprint) or here == base.fingerprint


def base_facts(services: Services, runs: Mapping[str, RunView | None], model: str) -> show.BaseFacts:
    """The base that answers beside these runs: theirs, or the chosen one where there is none."""
    run = next((run for run in runs.values() if run is not None), None)
    check, served = services.compare.base_check(), services.compare.served
    if run is not None:
        return show.BaseFacts(run.recipe.base.id, run.recipe.base.fingerprint, check, served)
    try:
        known = services.models.info(model).cached
        return show.BaseFacts(model, services.models.resolve(model)[0].fingerprint if known else "", check, served)
    except StudioError:  # the folder is gone; asking will say so
        return show.BaseFacts(model, "", check, served)


def trouble_of(pane: Pane, troubles: Mapping[str, str]) -> str:
    """Why a pane cannot answer, by its runs' ``troubles``; empty where it can."""
    return next((troubles[choice] for choice in pane.adapters if choice in troubles), "")


def bind_saving(services: Services, shared: Shared, widgets: Sequence[PaneWidgets]) -> None:
    """What *Save as an adapter* does, once the panes stand."""

    def save(index: int, mark: Visitor, stored: Any) -> None:
        require_operator(mark, "saving an adapter")
        talk = talks.restore(stored)
        pane = talk.panes[index] if talk is not None and index < len(talk.panes) else None
        if pane is None or pane.blend is None:
            raise InputError("This pane has no blend; choose an adapter under Blend with.")
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
