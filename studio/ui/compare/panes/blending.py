"""Two adapters in one pane: what its blend widgets show, saving a blend as an adapter, which dial an answer is for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import gradio as gr

from studio.domain.chat import BASE
from studio.errors import InputError
from studio.services import Services
from studio.services.compare import PaneChoice
from studio.ui.compare import talk as talks
from studio.ui.compare.panes.widgets import PaneWidgets
from studio.ui.compare.talk import Pane
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.lines import FILES
from studio.ui.page.shared import PRIVATE, Shared


def dials(index: int, pane: Pane) -> set[tuple[int, str, Any]]:
    """What an answer of pane ``index`` is for: while a dial is moved to where it stands already, the answer goes on."""
    blend = pane.blend
    values = {"strength": pane.strength, "weight": blend and blend.weight, "second": blend.run_id if blend else ""}
    return {(index, name, value) for name, value in values.items()}


def blending(widget: PaneWidgets, pane: Pane, offered: Sequence[PaneChoice]) -> dict[Any, Any]:
    """The blend widgets of a pane: the adapters of its base to blend with, and the weight once one is chosen."""
    own = next((choice for choice in offered if choice.id == pane.choice), None)
    base = own.base if own and pane.choice != BASE else None
    others = [(c.label, c.id) for c in offered if c.run_id and c.base == base and c.id != pane.choice]
    second = pane.blend.run_id if pane.blend else ""
    if second and second not in {run_id for _, run_id in others}:
        others.append((f"{second} (deleted)", second))
    return {
        widget.mix: gr.Accordion(visible=base is not None and bool(others)),
        widget.second: gr.Dropdown(choices=[("nothing", ""), *others], value=second),
        widget.weight: gr.Slider(value=pane.blend.weight if pane.blend else 0.5, visible=pane.blend is not None),
        widget.save: gr.Button(visible=pane.blend is not None),
    }


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
