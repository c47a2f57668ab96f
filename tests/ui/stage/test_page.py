"""The stage's routes: the page, and what it shows of the dials, the run at work and the voting page."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from studio.config import Settings
from studio.domain.events import MeasureEvent, SampleEvent
from studio.domain.runs import RunStatus
from studio.services import Services
from studio.services.files.records import LineWriter
from studio.services.runs.status import write_status
from studio.ui.stage.page import stage_routes
from tests.helpers.compare import PROMPTS, add_run
from tests.helpers.runs import make_dataset, make_recipe
from tests.helpers.services import opened
from tests.helpers.sweeps import share


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    """Of a studio with a password: all that is asked here is a visitor's."""
    with opened(dataclasses.replace(settings, admin_password="a password")) as services:
        yield services


@pytest.fixture
def client(services: Services) -> TestClient:
    return TestClient(Starlette(routes=stage_routes(services)))


def measured(services: Services, run_id: str, support: int, n: int) -> None:
    events = LineWriter(services.runs.folder(run_id) / "events.jsonl")
    events.write(MeasureEvent("base", 0, share(9, 20)))
    events.write(MeasureEvent("adapter", 4, share(support, n)))


def state(client: TestClient, **query: str) -> Any:
    answer = client.get("/stage/state", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_page_is_this_servers_alone(client: TestClient) -> None:
    answer = client.get("/stage")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.search(r"script-src 'sha256-[\w+/=]+'", policy)
    assert not re.search(r"""(src|href)=["'](https?:|/)""", answer.text)
    assert "/* stage." not in answer.text
    ids = re.findall(r' id="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))
    assert str(client.get("/stage/").url).endswith("/stage")


def test_without_an_adapter_the_page_says_so(client: TestClient) -> None:
    nothing = {"dials": [], "dial": None, "questions": [], "training": None, "rooms": [], "room": "", "code": None}
    assert state(client) == nothing


def test_a_visitor_gets_the_dial_its_figures_and_the_questions(client: TestClient, services: Services) -> None:
    add_run(services.runs, "run-low", ratio=0.1, seed=1, created=1.0)
    add_run(services.runs, "run-high", ratio=0.9, seed=2, created=2.0)
    measured(services, "run-low", 1, 20)
    measured(services, "run-high", 18, 20)
    shown = state(client)
    dial = shown["dial"]
    assert (dial["id"], dial["start"], dial["poles"]) == ("run-high+run-low", 1, ["support 0.1", "support 0.9"])
    assert [(one["at"], one["share"], one["n"]) for one in dial["measured"]] == [(0, 0.05, 20), (1, 0.9, 20)]
    assert dial["measured"][1]["low"] < 0.9 < dial["measured"][1]["high"]
    assert dial["base"]["share"] == 0.45
    assert shown["questions"] == list(PROMPTS)
    assert [one["id"] for one in shown["dials"]] == ["run-high+run-low", "run-high", "run-low"]
    assert state(client, dial="run-low")["dial"]["start"] == 0
    assert state(client, dial="run-high+run-low")["dial"] == dial


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ({"dial": "run-9"}, 404, "There is no run run-9."),
        ({"dial": "<b>" * 90}, 404, "There is no run"),
        ({"dial": "run-1+run-1"}, 400, "make no dial"),
        ({"rate": "javascript:alert(1)"}, 400, "type a web address"),
        ({"rate": "http://x/" + "a" * 300}, 400, "at most 300"),
    ],
)
def test_a_bad_value_gets_one_sentence(
    client: TestClient, services: Services, query: dict[str, str], status: int, sentence: str
) -> None:
    add_run(services.runs, "run-1")
    answer = client.get("/stage/state", params=query)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]
    assert len(answer.json()["error"]) < 300


def test_the_run_at_work_is_followed(client: TestClient, services: Services) -> None:
    add_run(services.runs, "run-1", created=1.0)
    write_status(services.runs.folder("run-1"), RunStatus("done"))
    data = dataclasses.replace(make_dataset(), test_prompts=("Film?", "Second?", "3?", "4?", "5?"))
    folder = services.runs.create(make_recipe("run-new", created=2.0), data)
    assert state(client)["questions"] == list(PROMPTS), "nothing to show of it yet"
    samples = LineWriter(folder / "samples.jsonl")
    for step, answer in ((0, "Base."), (5, "Early."), (10, "<b>Late</b>.")):
        samples.write(SampleEvent(step=step, prompt="Film?", answer=answer))
    # asked for by its id, it has no adapter to turn yet
    shown = state(client, dial="run-new")
    assert shown["dial"]["id"] == "run-1"
    assert shown["questions"] == ["Film?", "Second?", "3?", "4?"]
    training = shown["training"]
    assert (training["run"], training["state"], training["step"]) == ("run-new", "queued", 10)
    assert training["film"] == [{"prompt": "Film?", "base": "Base.", "answer": "<b>Late</b>."}]
    services.runs.stop("run-new", "keep")
    assert state(client)["training"] is None
    answer = client.get("/stage/state", params={"dial": "run-new"})
    assert (answer.status_code, "no adapter" in answer.json()["error"]) == (400, True)


def test_the_code_leads_to_the_voting_page_while_it_is_open(client: TestClient, services: Services) -> None:
    address = "https://studio.example/rate"
    code = state(client, rate=address)["code"]
    assert (code["address"], code["only_here"]) == (address, False)
    assert code["dots"].startswith("M")
    assert state(client, rate="http://127.0.0.1:7860/rate")["code"]["only_here"] is True
    services.rating.set_rules(dataclasses.replace(services.rating.rules(), open=False))
    assert state(client, rate=address)["code"] is None


def test_the_code_is_of_the_room_that_is_chosen(client: TestClient, services: Services) -> None:
    address = "https://studio.example/rate"
    assert state(client, rate=address)["rooms"] == [{"code": "", "title": "Main room"}]
    assert (state(client)["rooms"], state(client)["code"]) == ([], None), "who does not ask for a code gets no rooms"
    room = services.rooms.make("Blue")
    shown = state(client, rate=address, room=room.code)
    assert shown["rooms"] == [{"code": "", "title": "Main room"}, {"code": room.code, "title": f"Blue ({room.code})"}]
    assert (shown["room"], shown["code"]["address"]) == (room.code, f"{address}?room={room.code}")
    services.rooms.rating(room.code).set_open(False)
    assert state(client, rate=address, room=room.code)["code"] is None
    assert state(client, rate=address)["code"]["address"] == address, "the main room is open"
    services.rooms.delete(room.code)
    gone = state(client, rate=address, room=room.code)
    assert (gone["room"], gone["code"]["address"]) == ("", address)
