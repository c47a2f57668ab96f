"""The operator's box of the Rate tab: guidelines, how many votes decide, what raters may say, reveal, and opening and closing the vote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.services import Services
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET, Shared

OPEN, CLOSE = "Open voting again", "Close voting"


class RulesBox:
    """Draws the box when made, for the room whose code ``room`` holds; ``load`` fills it, with ``outputs``."""

    def __init__(self, services: Services, shared: Shared, room: gr.State) -> None:
        self._rooms = services.rooms
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                self.guidelines = gr.Textbox(
                    label="Guidelines every rater reads first (Markdown; tags stay text, pictures are left out)",
                    lines=9,
                    max_lines=24,
                    elem_id="rate-guidelines",
                )
            with gr.Column(scale=2, min_width=280):
                self.min_votes = gr.Number(
                    label="Votes that decide a pair",
                    info="An odd number. A strict majority of at least this many votes decides a pair.",
                    precision=0,
                    minimum=1,
                    maximum=99,
                    elem_id="rate-min-votes",
                )
                self.two_decide = gr.Checkbox(
                    label="Two equal votes decide while only two people vote",
                    elem_id="rate-two-decide",
                )
                self.reveal = gr.Checkbox(
                    label="Show raters which model answered, after their own vote",
                    elem_id="rate-reveal",
                )
                self.ties = gr.Checkbox(label="Offer “Tie” and “Both bad”", elem_id="rate-ties")
                self.reasons = gr.Checkbox(label="Ask for reasons", elem_id="rate-reasons")
                self.save = gr.Button("Save", variant="primary", size="sm", elem_id="rate-save-rules")
                self.toggle = gr.Button(CLOSE, size="sm", elem_id="rate-toggle")
        self._rules: list[Any] = [
            self.guidelines,
            self.min_votes,
            self.reveal,
            self.two_decide,
            self.ties,
            self.reasons,
        ]
        self.outputs: list[Any] = [*self._rules, self.toggle]
        self._bind(shared, room)

    def load(self, room: str) -> dict[Any, Any]:
        """The rules of a room as they stand."""
        rules = self._rooms.rating(room).rules()
        return {
            self.guidelines: rules.guidelines,
            self.min_votes: rules.min_votes,
            self.two_decide: rules.two_decide,
            self.reveal: rules.reveal,
            self.ties: rules.ties,
            self.reasons: rules.reasons,
            self.toggle: self._button(rules.open),
        }

    def _bind(self, shared: Shared, room: gr.State) -> None:
        def save(
            mark: Visitor,
            code: str,
            guidelines: str | None,
            min_votes: float | None,
            reveal: bool | None,
            two_decide: bool | None = False,
            ties: bool | None = True,
            reasons: bool | None = True,
        ) -> None:
            require_operator(mark, "changing the rules of the vote")
            if min_votes is None or min_votes != int(min_votes):
                raise InputError("Votes that decide a pair must be a whole odd number such as 3.")
            rating = self._rooms.rating(code)
            rating.set_rules(
                replace(
                    rating.rules(),
                    guidelines=guidelines or "",
                    min_votes=int(min_votes),
                    reveal=bool(reveal),
                    two_decide=bool(two_decide),
                    ties=bool(ties),
                    reasons=bool(reasons),
                )
            )
            gr.Info("Saved; raters see it with their next pair.", duration=3)

        def toggle(mark: Visitor, code: str, label: str) -> Any:
            """Do what the button says: another page may have opened or closed the vote since this one was drawn."""
            require_operator(mark, "opening and closing the vote")
            opening = label == OPEN
            self._rooms.rating(code).set_open(opening)
            return self._button(opening)

        self.save.click(guarded(save), [shared.visitor, room, *self._rules], None, **QUIET)
        self.toggle.click(guarded(toggle), [shared.visitor, room, self.toggle], self.toggle, **QUIET)

    @staticmethod
    def _button(open_: bool) -> Any:
        return gr.Button(CLOSE if open_ else OPEN, variant="secondary" if open_ else "primary")
