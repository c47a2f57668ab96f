"""*Words that moved*: the answer of an adapter's pane, each token coloured by how much likelier the adapter makes it than the base."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import gradio as gr

from studio.domain.chat import is_base
from studio.errors import InputError
from studio.services import Services
from studio.services.words import moved_words
from studio.ui.compare import talk as talks
from studio.ui.compare.panes.widgets import PaneWidgets
from studio.ui.compare.talk import Talk
from studio.ui.page.guard import guarded
from studio.ui.page.lines import MODEL
from studio.ui.page.shared import PRIVATE
from studio.ui.parts.moved_words import moved_html


def offer_words(widgets: Sequence[PaneWidgets], talk: Talk, panes: Iterable[int] | None = None) -> dict[Any, Any]:
    """The buttons of ``panes`` (all) whose adapter has answered; what was shown of an earlier answer goes."""
    updates: dict[Any, Any] = {}
    for index in range(len(talk.panes)) if panes is None else panes:
        pane = talk.panes[index]
        updates[widgets[index].words] = gr.Button(visible=not is_base(pane.choice) and bool(pane.answer))
        updates[widgets[index].moved] = gr.HTML("", visible=False)
    return updates


def bind_moved_words(services: Services, widgets: Sequence[PaneWidgets], memory: gr.BrowserState) -> None:
    """What the buttons do, once the panes stand."""

    def show_words(index: int, stored: Any) -> Any:
        talk = talks.restore(stored)
        if talk is None or index >= len(talk.panes) or not talk.panes[index].answer:
            raise InputError("This pane has no answer to look at; ask it something first.")
        pane, said = talk.panes[index], talks.conversation(talk, index)
        if is_base(pane.choice):
            raise InputError("This pane shows the base; choose an adapter to see what it changed.")
        moved = moved_words(
            services.compare, services.runs, pane.voice, said[:-1], pane.answer, pane.strength, pane.blend
        )
        return gr.HTML(moved_html(moved), visible=True)

    for index, widget in enumerate(widgets):
        handler = guarded(functools.partial(show_words, index))
        widget.words.click(handler, memory, widget.moved, show_progress_on=widget.words, **MODEL, **PRIVATE)
