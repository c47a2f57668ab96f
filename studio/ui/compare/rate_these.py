"""*Rate these answers*: what the panes of Compare say becomes pairs to vote on."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.services import Services
from studio.services.rating.service import Added
from studio.services.wording import counted
from studio.ui.compare import talk as talks
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET, Shared


def build_rate_these() -> gr.Button:
    """Draw the button."""
    return gr.Button("Rate these answers", size="sm", elem_id="rate-these")


def bind_rate_these(services: Services, shared: Shared, button: gr.Button) -> None:
    """What it does, once the page stands."""

    def keep(mark: Visitor, stored: Any) -> None:
        require_operator(mark, "adding pairs to rate")
        talk = talks.restore(stored)
        how = talk.asked if talk else None
        if talk is None or how is None:
            raise InputError("There are no finished answers on screen; ask something, or press Retry.")
        if any(how.own):
            raise InputError(
                "A pane was asked with a system prompt of its own, and votes are counted for answers to the same; clear it under More and "
                "ask again."
            )
        chats = [talks.chat(talk, index, pane.messages, how.base) for index, pane in enumerate(talk.panes)]
        done = services.sources.from_chats(chats, how.system_prompt, how.sampling, how.base)
        (gr.Info if done.added or done.known else gr.Warning)(summary(done), duration=6)

    button.click(guarded(keep), [shared.visitor, shared.chats], None, **QUIET)


def summary(done: Added) -> str:
    """What became of the answers, in one sentence."""
    parts = [f"{counted(done.added, 'pair')} added to Rate"] if done.added else []
    if done.known:
        parts.append(f"{done.known} known already")
    if done.identical:
        parts.append(f"{done.identical} left out, since both answers are the same")
    return f"{'; '.join(parts)}."
