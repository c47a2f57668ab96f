"""*Rate these answers*: what the panes of Compare say becomes pairs to vote on."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.services import Services
from studio.services.rating.rooms import FIRST, room_title
from studio.services.rating.service import Added
from studio.services.wording import counted
from studio.ui.compare import talk as talks
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.changes import VOTES, when_changed
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import QUIET, Shared


def build_rate_these() -> tuple[gr.Button, gr.Dropdown]:
    """Draw the button, and the menu of rooms the pairs may go to, which is shown where there are several."""
    button = gr.Button("Rate these answers", size="sm", elem_id="rate-these")
    room = gr.Dropdown(
        [(room_title(FIRST), FIRST.code)], value=FIRST.code, label="Room", visible=False, elem_id="rate-these-room"
    )
    return button, room


def bind_rate_these(services: Services, shared: Shared, button: gr.Button, room: gr.Dropdown, app: gr.Blocks) -> None:
    """What they do, once the page stands."""

    def offer(code: str | None) -> gr.Dropdown:
        choices = [(room_title(one), one.code) for one in services.rooms.list()]
        known = code if code in dict(choices).values() else FIRST.code
        return gr.Dropdown(choices=choices, value=known, visible=len(choices) > 1)

    def keep(mark: Visitor, stored: Any, code: str | None) -> None:
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
        done = services.sources.from_chats(chats, how.system_prompt, how.sampling, how.base, code or FIRST.code)
        (gr.Info if done.added or done.known else gr.Warning)(summary(done), duration=6)

    button.click(guarded(keep), [shared.visitor, shared.chats, room], None, **QUIET)
    when_opened(room, app, guarded(offer), room, room)
    when_changed(VOTES, guarded(offer), room, room)


def summary(done: Added) -> str:
    """What became of the answers."""
    parts = [f"{counted(done.added, 'pair')} added to Rate."] if done.added else []
    if done.known:
        parts.append(f"{done.known} known already.")
    if done.identical:
        parts.append(f"{done.identical} left out, since both answers are the same.")
    return " ".join(parts)
