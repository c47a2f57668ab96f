"""The runs behind the panes: which are there, why one cannot answer, which base they share; a blend of two saved as one."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from studio.domain.chat import BASE
from studio.errors import InputError, StudioError
from studio.services import Services
from studio.services.lineage.steps import run_of, steps_of
from studio.services.lineage.vector import is_vector
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
            runs[choice] = None if choice == BASE else services.runs.get(run_of(choice))
        except StudioError:
            runs[choice] = None
    return runs


def troubles_of(services: Services, runs: Mapping[str, RunView | None]) -> dict[str, str]:
    """Why a run cannot answer at any step, for those that cannot."""
    troubles = {}
    for choice, run in runs.items():
        if choice == BASE:
            continue
        if run is None:
            troubles[choice] = "This run was deleted."
        elif not run.has_adapter and not steps_of(run) and not is_vector(choice):
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


def trouble_of(pane: Pane, runs: Mapping[str, RunView | None], troubles: Mapping[str, str]) -> str:
    """Why a pane cannot answer, by its ``runs`` and their ``troubles``; empty where it can."""
    run = runs[pane.choice]
    if pane.choice not in troubles and run is not None:
        if pane.step is not None and pane.step not in steps_of(run):
            return f"Step {pane.step} of this run is not kept any more; choose another under More."
        if pane.step is None and not run.has_adapter and not is_vector(pane.choice):
            return f"This run is {run.status.state}; choose one of its steps under More."
    return next((troubles[choice] for choice in pane.adapters if choice in troubles), "")


def identities(
    services: Services, widgets: Sequence[PaneWidgets], talk: Talk, runs: Mapping[str, RunView | None], model: str
) -> dict[Any, Any]:
    """Who answers in each pane."""
    troubles = troubles_of(services, runs)
    facts = base_facts(services, {c: run for c, run in runs.items() if c not in troubles}, model)
    return {
        widget.identity: show.identity(
            pane,
            runs[pane.choice],
            facts,
            talks.told(talk, index),
            trouble_of(pane, runs, troubles),
            runs[pane.blend.run_id] if pane.blend else None,
            services.compare.adapter_hash(pane.voice) if pane.voice != run_of(pane.voice) and runs[pane.choice] else "",
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
    if choice == BASE or is_vector(choice):
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
