"""Rooms for programs: the endpoints of a studio with an operator's password, asked over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from studio.config import Settings
from studio.errors import NotFoundError
from studio.services import Services
from studio.ui.rating.rooms import add_api
from tests.helpers.pairs import new_pairs, press_until_done
from tests.helpers.services import opened

PASSWORD = "open sesame"
NOTHING = {"decided": 0, "own": 0, "own_total": 0, "pairs": 0, "raters": 0, "votes": 0}


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(replace(settings, admin_password=PASSWORD)) as services:
        yield services


@pytest.fixture
def client(services: Services) -> Iterator[Client]:
    with gr.Blocks(analytics_enabled=False) as app:
        add_api(services)
    _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, show_error=True)
    yield Client(url, verbose=False, httpx_kwargs={"timeout": 60})
    app.close()


def ask(client: Client, name: str, *given: Any, **named: Any) -> Any:
    return client.predict(*given, operator_password=PASSWORD, api_name=f"/{name}", **named)


def test_a_room_is_made_counted_changed_and_deleted(client: Client, services: Services) -> None:
    (main,) = client.predict(api_name="/rooms")
    assert main == {"code": "", "name": "Main room", "created": 0.0, "open": True, **NOTHING}
    made = ask(client, "room_make", "Blue")
    assert made == {"code": made["code"], "name": "Blue", "created": made["created"], "open": True, **NOTHING}
    blue = services.rooms.rating(made["code"])
    blue.add_pairs(new_pairs(3))
    press_until_done(blue, blue.register("Anna")[0])
    listed = client.predict(api_name="/rooms")
    assert [(room["name"], room["pairs"], room["votes"], room["raters"]) for room in listed] == [
        ("Main room", 0, 0, 0),
        ("Blue", 3, len([v for v in blue.ballots().votes if v.choice != "skip"]), 1),
    ]
    # a code as people type it
    changed = ask(client, "room_set", made["code"].lower(), "Azure", False)
    assert (changed["name"], changed["open"], blue.rules().open) == ("Azure", False, False)
    assert services.rating.rules().open is True
    assert ask(client, "room_set", made["code"])["name"] == "Azure", "nothing was asked for"
    assert ask(client, "room_set", made["code"], open=True)["open"] is True
    assert ask(client, "room_set", "", open=False)["open"] is False, "the main room closes too"
    assert ask(client, "room_delete", made["code"]) in (None, ())
    assert [room["code"] for room in client.predict(api_name="/rooms")] == [""]
    with pytest.raises(NotFoundError):
        blue.rules()


def test_what_cannot_be_done_is_said_and_changes_nothing(client: Client, services: Services) -> None:
    room = services.rooms.make("Blue")
    for name, given, sentence in (
        ("room_make", ("blue ",), "another room has"),
        ("room_make", ("",), "Name of the room"),
        ("room_set", ("ZZZZ", "Red"), "There is no room 'ZZZZ'"),
        ("room_set", ("", "Red"), "main room"),
        ("room_delete", ("",), "main room"),
        ("room_delete", ("nonsense",), "There is no room 'nonsense'"),
    ):
        with pytest.raises(AppError, match=sentence):
            ask(client, name, *given)
    assert [one.name for one in services.rooms.list()] == ["Main room", room.name]


def test_without_the_operators_password_rooms_are_only_listed(client: Client, services: Services) -> None:
    room = services.rooms.make("Blue")
    for name, given in (
        ("room_make", ["Red"]),
        ("room_set", [room.code, "Red", False]),
        ("room_delete", [room.code]),
    ):
        with pytest.raises(AppError, match="operator's password"):
            client.predict(*given, api_name=f"/{name}")
        with pytest.raises(AppError, match="password"):
            client.predict(*given, operator_password="guess", api_name=f"/{name}")
    assert [one["name"] for one in client.predict(api_name="/rooms")] == ["Main room", "Blue"]
    assert services.rooms.rating(room.code).rules().open is True
