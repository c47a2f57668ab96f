"""*Add to my pairs*: the question and the first two answers on screen become a pair of Align's draft."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.services.data import own_pairs
from studio.services.data.own_pairs import OwnPair
from studio.ui.compare import talk as talks
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET, Shared


def build_own_pair() -> gr.Button:
    """Draw the button."""
    return gr.Button("Add to my pairs", size="sm", elem_id="own-pair")


def bind_own_pair(shared: Shared, button: gr.Button) -> None:
    """What it does, once the page stands."""

    def add(chats: Any, stored: Any) -> Any:
        talk = talks.restore(chats)
        panes = [pane for pane in talk.panes if pane.answer] if talk else []
        if len(panes) < 2:
            raise InputError("There are no two answers on screen; ask two panes something first.")
        first, second = panes[:2]
        draft, like = own_pairs.restored(stored)
        made = own_pairs.added(draft, OwnPair(first.messages[-2].content, first.answer, second.answer))
        gr.Info(
            f"Pair {len(made)} of your draft prefers the first pane's answer; see Align, Write pairs.",
            duration=6,
        )
        return own_pairs.stored(made, like)

    button.click(guarded(add), [shared.chats, shared.draft], shared.draft, **QUIET)
