"""Which result of the votes is looked at: what they say now, or one that was kept, with another title or deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from studio.domain.votes import KeptHead
from studio.i18n import Named
from studio.services.rating.service import RatingService
from studio.services.votes.kept import KeptVotes, delete_kept, rename_kept
from studio.services.wording import counted
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET, Shared

#: The choice that means "what the votes say now".
NOW = "now"


class KeptBox:
    """Draws what can be done with a kept result when made; :meth:`show` fills it (``outputs``)."""

    def __init__(self) -> None:
        with gr.Row(visible=False, elem_id="kept-votes", equal_height=True) as self.box:
            self._title = gr.Textbox(
                label="Title", max_lines=1, min_width=200, submit_btn="Rename", elem_id="kept-votes-title"
            )
            self._delete = gr.Button("Delete", variant="stop", size="sm", min_width=90, elem_id="kept-votes-delete")
        with gr.Row(visible=False, elem_id="kept-votes-sure-row") as self._sure_row:
            self._sure = gr.Button("Yes, delete it", variant="stop", size="sm", elem_id="kept-votes-sure")
            self._unsure = gr.Button("No, leave it", size="sm")
        self.outputs: list[Any] = [self.box, self._title, self._sure_row]

    def show(self, kept: KeptVotes | None, mark: Visitor) -> dict[Any, Any]:
        """The box of ``kept``, for the operator."""
        return {
            self.box: gr.Row(visible=kept is not None and mark.operator),
            self._title: kept.title if kept else "",
            self._sure_row: gr.Row(visible=False),
        }

    def bind(
        self,
        rating: RatingService,
        shared: Shared,
        inputs: list[Any],
        look: Callable[..., Any],
        outputs: list[Any],
    ) -> None:
        """Connect it; ``look`` draws ``outputs`` from ``inputs``: the visitor, the room, which result, and filters."""

        def rename(title: str | None, mark: Visitor, room: str, chosen: str, *values: Any) -> Any:
            require_operator(mark, "renaming results")
            rename_kept(rating, chosen, title or "")
            return look(mark, room, chosen, *values)

        def remove(mark: Visitor, room: str, chosen: str, *values: Any) -> Any:
            require_operator(mark, "deleting results")
            delete_kept(rating, chosen)
            return look(mark, room, NOW, *values)

        self._title.submit(guarded(rename), [self._title, *inputs], outputs, **QUIET)
        self._delete.click(lambda: gr.Row(visible=True), None, self._sure_row, **QUIET)
        self._unsure.click(lambda: gr.Row(visible=False), None, self._sure_row, **QUIET)
        self._sure.click(guarded(remove), inputs, outputs, **QUIET)


def choices(heads: Sequence[KeptHead]) -> list[tuple[str, str]]:
    """What may be looked at."""
    return [
        ("Now", NOW),
        *(
            (
                Named(
                    one.title,
                    time.strftime("%d %b %H:%M", time.localtime(one.created)),
                    counted(one.votes, "vote"),
                ),
                one.id,
            )
            for one in heads
        ),
    ]
