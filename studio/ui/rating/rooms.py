"""Rooms in the Rate tab: a menu to move between them, and the operator's box to make, rename and delete them; the same for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from studio.domain.votes import Room
from studio.errors import NotFoundError
from studio.services import Services
from studio.services.rating.rooms import FIRST, MAX_NAME, room_title
from studio.ui.page.access import Visitor, require_operator, require_password
from studio.ui.page.arguments import checked
from studio.ui.page.changes import VOTES, when_changed
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import QUIET, Shared


class RoomMenu:
    """Draws the menu when made; :attr:`room` holds the code of the room that the tab shows."""

    def __init__(self, services: Services) -> None:
        self._rooms = services.rooms
        self.room = gr.State(FIRST.code)
        self._menu = gr.Dropdown(
            [(room_title(FIRST), FIRST.code)], value=FIRST.code, label="Room", visible=False, elem_id="rate-room"
        )

    def draw_box(self, shared: Shared, app: gr.Blocks) -> None:
        """Draw the operator's box here, and bind the events of both."""
        with gr.Accordion("Rooms", open=False, elem_id="rate-rooms"):
            gr.Markdown(
                "A room is a vote of its own, with pairs, raters, rules, results and export. Raters come in by its code.",
                elem_classes="quiet",
            )
            name = gr.Textbox(label="Name of the room", max_lines=1, max_length=2 * MAX_NAME, elem_id="rate-room-name")
            with gr.Row():
                make = gr.Button("Make room", variant="primary", size="sm", elem_id="rate-room-make")
                rename = gr.Button("Rename this room", size="sm", interactive=False, elem_id="rate-room-rename")
                delete = gr.Button(
                    "Delete this room", variant="stop", size="sm", interactive=False, elem_id="rate-room-delete"
                )
            with gr.Row(visible=False) as sure_row:
                sure = gr.Button(
                    "Yes, delete it with its pairs and votes", variant="stop", size="sm", elem_id="rate-room-sure"
                )
                unsure = gr.Button("No, leave it", size="sm")
        shown = [self.room, self._menu, name, rename, delete, sure_row]

        def show(code: str, typed: str | None = None) -> dict[Any, Any]:
            """Everything, with the room of ``code`` open; the first one where it is gone."""
            rooms = self._rooms.list()
            chosen = next((room for room in rooms if room.code == code), FIRST)
            return {
                self.room: chosen.code,
                self._menu: gr.Dropdown(
                    choices=[(room_title(room), room.code) for room in rooms], value=chosen.code, visible=len(rooms) > 1
                ),
                name: gr.skip() if typed is None else typed,
                rename: gr.Button(interactive=chosen != FIRST),
                delete: gr.Button(interactive=chosen != FIRST),
                sure_row: gr.Row(visible=False),
            }

        def made(mark: Visitor, title: str | None) -> dict[Any, Any]:
            require_operator(mark, "making rooms")
            room = self._rooms.make(title or "")
            gr.Info(f"{room.name} is open; its code is {room.code}.", duration=6)
            return show(room.code, "")

        def renamed(mark: Visitor, code: str, title: str | None) -> dict[Any, Any]:
            require_operator(mark, "renaming rooms")
            self._rooms.rename(code, title or "")
            return show(code, "")

        def deleted(mark: Visitor, code: str) -> dict[Any, Any]:
            require_operator(mark, "deleting rooms")
            self._rooms.delete(code)
            return show(FIRST.code)

        self._menu.input(guarded(show), self._menu, shown, **QUIET)
        self.room.change(guarded(show), self.room, shown, **QUIET)
        when_opened(name, app, guarded(show), self.room, shown)
        when_changed(VOTES, guarded(show), self.room, shown)
        make.click(guarded(made), [shared.visitor, name], shown, **QUIET)
        rename.click(guarded(renamed), [shared.visitor, self.room, name], shown, **QUIET)
        delete.click(lambda: gr.Row(visible=True), None, sure_row, **QUIET)
        unsure.click(lambda: gr.Row(visible=False), None, sure_row, **QUIET)
        sure.click(guarded(deleted), [shared.visitor, self.room], shown, **QUIET)


def add_api(services: Services) -> None:
    """Add the endpoints ``/rooms``, ``/room_make``, ``/room_set`` and ``/room_delete`` to the Blocks being built."""
    rooms = services.rooms

    def entry(room: Room) -> dict[str, Any]:
        rating = rooms.rating(room.code)
        return {**asdict(room), "open": rating.rules().open, **asdict(rating.progress(None))}

    def listed() -> list[dict[str, Any]]:
        """Every room: its code (empty: the main room), name, whether voting is open, and how many pairs, votes and raters it has."""
        lines = []
        for room in rooms.list():
            try:
                lines.append(entry(room))
            except NotFoundError:  # deleted since it was listed
                continue
        return lines

    def make(request: gr.Request, name: str, operator_password: str = "") -> dict[str, Any]:
        """Make a room; as an entry of ``/rooms``. Needs the operator's password where one is set."""
        require_password(services.gate, request, operator_password, "making rooms")
        return entry(rooms.make(name))

    def change(
        request: gr.Request, code: str, name: str = "", open: bool | None = None, operator_password: str = ""
    ) -> dict[str, Any]:
        """Give a room another name, open or close its vote (null: as it is); as an entry of ``/rooms``. Needs the operator's password where
        one is set."""
        require_password(services.gate, request, operator_password, "changing rooms")
        if name:
            rooms.rename(code, name)
        if open is not None:
            rooms.rating(code).set_open(open)
        return entry(rooms.find(code))

    def delete(request: gr.Request, code: str, operator_password: str = "") -> None:
        """Delete a room with its pairs, votes and kept results. Needs the operator's password where one is set."""
        require_password(services.gate, request, operator_password, "deleting rooms")
        rooms.delete(code)

    gr.api(guarded(checked(listed)), api_name="rooms")
    for handler, name in ((make, "room_make"), (change, "room_set"), (delete, "room_delete")):
        # a try at the password may wait here
        gr.api(guarded(checked(handler)), api_name=name, concurrency_limit=4)
