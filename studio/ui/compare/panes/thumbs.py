"""Thumbs up and down on the answers of the panes, for every visitor: rows for KTO."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from studio.domain.chat import named_base
from studio.errors import InputError, NotAllowedError
from studio.services import Services
from studio.services.compare.panes import PaneChat, behind
from studio.services.runs.store import RunView
from studio.ui.compare import talk as talks
from studio.ui.compare.panes.widgets import PaneWidgets
from studio.ui.compare.talk import Talk
from studio.ui.page.access import address_of
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET
from studio.ui.rating.voting_page import Registrations

#: What a visitor is called who only ever pressed thumbs.
_NAME = "Visitor of Compare"


def can_be_rated(
    services: Services, runs: Mapping[str, RunView | None], talk: Talk, asked: Mapping[int, PaneChat]
) -> None:
    """The newest answers of these panes, to what they were ``asked``, may have thumbs from now on."""
    for index, chat in asked.items():
        pane = talk.panes[index]
        run = runs[pane.choice]
        services.thumbs.gave(
            chat.messages, pane.answer, run.title if run else f"base {named_base(pane.choice)}".strip()
        )


def bind_thumbs(services: Services, widgets: Sequence[PaneWidgets], memory: gr.BrowserState) -> None:
    """What the thumbs below the answers do. A visitor is a rater, whom their browser keeps; the first thumb makes one."""
    who = gr.BrowserState("", storage_key="alignment-studio-rater", secret="alignment-studio")
    pace = Registrations()

    def rater_of(token: Any, request: gr.Request) -> tuple[Any, str]:
        try:
            return services.rating.rater(token), token
        except NotAllowedError:  # none yet, or one of another store
            time.sleep(pace.delay(address_of(request)))
            return services.rating.register(_NAME)

    def on_pane(index: int) -> Callable[..., str]:
        def press(token: Any, stored: Any, request: gr.Request, event: gr.LikeData) -> str:
            talk, at = talks.restore(stored), event.index
            if talk is None or index >= len(talk.panes) or not isinstance(at, int):
                raise InputError("This answer is not there any more; ask again.")
            messages = talk.panes[index].messages
            if not 0 < at < len(messages) or messages[at].role != "assistant":
                raise InputError("A thumb goes on an answer; press one below it.")
            turns = behind(talks.system_prompt_of(talks.as_asked(talk), index), messages[:at])
            rater, token = rater_of(token, request)
            liked = event.liked if isinstance(event.liked, bool) else None
            services.thumbs.rate(rater, turns, messages[at].content, liked)
            notices = {None: "Thumb taken back.", True: "Thumb up kept.", False: "Thumb down kept."}
            gr.Info(notices[liked], duration=3)
            return token

        return press

    for index, widget in enumerate(widgets):
        widget.chat.like(guarded(on_pane(index)), [who, memory], who, concurrency_limit=4, **QUIET)
