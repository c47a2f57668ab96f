"""Lines of heavy work beside the queue of what draws the page: bounds a page, an address, in all; who goes first."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
import httpx
import pytest

from studio.config import Settings
from studio.services import build_services
from studio.ui.launch import page_options
from studio.ui.page import lines
from studio.ui.page.lines import LINES, TABLE, Outcomes, Session, open_queue
from studio.ui.page.shared import POLLED
from tests.helpers.waiting import wait_until

PASSWORD = "a password of the operator"


@dataclass
class Server:
    """A page with heavy work that waits for a gate, and light events."""

    url: str = ""
    app: gr.Blocks | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    drawn: threading.Event = field(default_factory=threading.Event)
    begun: list[str] = field(default_factory=list)
    light: list[str] = field(default_factory=list)
    #: One for all requests: to make one takes a thirtieth of a second.
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    def join(self, fn: int, session: str, value: str = "", http: httpx.Client | None = None) -> httpx.Response:
        body = {"fn_index": fn, "data": [value or session], "session_hash": session}
        return (http or self.http).post(f"{self.url}gradio_api/queue/join", json=body)

    def outcome(self, session: str) -> list[str]:
        """Read a page's outcomes until nothing is pending."""
        outcomes = []
        params = {"session_hash": session}
        with self.http.stream("GET", f"{self.url}gradio_api/queue/data", params=params) as answer:
            for line in answer.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    outcomes.append(message["output"]["data"][0])
        return outcomes


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    settings = Settings(
        database_url=f"sqlite:///{tmp_path / 'studio.db'}", cache_dir=tmp_path / "cache", admin_password=PASSWORD
    )
    services, made = build_services(settings), Server()

    def heavy(text: str) -> str:
        made.begun.append(text)
        made.gate.wait(300)
        return text

    def light(text: str) -> str:
        made.light.append(text)
        return text

    def drawing(text: str) -> str:
        made.light.append(text)
        if text == "slow":
            made.drawn.wait(300)
        return text

    with gr.Blocks(analytics_enabled=False) as app:
        box, panel = gr.Textbox(), gr.Textbox()
        gr.Button().click(heavy, box, box, **TABLE)
        gr.Button().click(light, box, box, concurrency_limit=1)
        gr.Button().click(drawing, box, [panel], **POLLED)
        gr.Button().click(lambda text: (drawing(text), text), box, [panel, box], **POLLED)
    open_queue(app, services.gate)
    _, made.url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **page_options(services))
    made.app = app
    yield made
    made.gate.set()
    made.drawn.set()
    app.close()
    made.http.close()


def test_what_a_page_is_shown_arrives_in_the_order_it_was_looked_up(server: Server) -> None:
    server.join(2, "a", "slow")
    wait_until(lambda: server.light == ["slow"])
    server.join(3, "a", "later")
    server.join(3, "b", "other page")
    wait_until(lambda: server.light == ["slow", "other page"])
    server.drawn.set()
    assert server.outcome("a") == ["slow", "later"]
    assert server.light[-1] == "later"


def test_what_was_asked_before_a_stream_broke_off_arrives_on_the_next(server: Server) -> None:
    server.join(2, "a", "slow")
    with httpx.stream("GET", f"{server.url}gradio_api/queue/data", params={"session_hash": "a"}, timeout=60) as answer:
        assert next(answer.iter_lines())
    assert server.app is not None
    queue = server.app._queue
    wait_until(lambda: "a" not in queue._listening)
    server.drawn.set()
    assert server.outcome("a") == ["slow"]


def test_what_a_page_that_is_gone_asked_for_is_dropped(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_AWAY_S", 0.1)
    for value in ("slow", "later"):
        server.join(2, "a", value)
    with httpx.stream("GET", f"{server.url}gradio_api/queue/data", params={"session_hash": "a"}, timeout=60) as answer:
        assert next(answer.iter_lines())
    assert server.app is not None
    queue = server.app._queue
    wait_until(lambda: not any(line.queue for line in queue.event_queue_per_concurrency_id.values()))
    server.drawn.set()
    assert server.light == ["slow"]


def test_the_oldest_pages_make_room() -> None:
    outcomes = Outcomes(2)
    for session in "abc":
        outcomes[session] = session
    del outcomes["b"]  # Gradio's way
    assert dict(outcomes) == {"b": "b", "c": "c"}


def test_a_page_has_one_running_and_one_waiting_and_others_are_served(server: Server) -> None:
    assert server.join(0, "one").status_code == 200
    wait_until(lambda: server.begun == ["one"])
    answers = [server.join(0, "one") for _ in range(20)]
    assert [answer.status_code for answer in answers] == [200, *[400] * 19]
    assert "This page has tables waiting already" in answers[-1].json()["detail"]
    assert server.join(1, "two").status_code == 200
    assert server.outcome("two") == ["two"], "what is light is not behind what is heavy"
    server.gate.set()
    assert server.outcome("one") == ["one", "one"]
    assert server.join(0, "one").status_code == 200


def test_many_pages_of_one_address_are_bounded_and_the_operator_goes_first(server: Server) -> None:
    bound = LINES["table"]
    codes = [server.join(0, f"page {n}").status_code for n in range(bound.address + 40)]
    assert codes.count(200) in (bound.address, bound.address + 1)  # waiting, and the one that runs
    wait_until(lambda: len(server.begun) == bound.at_once)
    with httpx.Client(base_url=server.url, timeout=60) as operator:
        operator.post("operator/unlock", json={"password": PASSWORD}).raise_for_status()
        assert server.join(0, "operator", http=operator).status_code == 200
        wait_until(lambda: server.begun[-1] == "operator")  # beside the one of the visitors
        assert server.join(0, "operator's second", http=operator).status_code == 200
        server.gate.set()
        wait_until(lambda: "operator's second" in server.begun)
    assert len(server.begun) < bound.address


def test_light_events_of_one_page_are_bounded_and_give_way(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PAGE", 10)
    codes = [server.join(1, "flood").status_code for _ in range(30)]
    assert codes == [*[200] * 10, *[400] * 20]
    assert server.join(1, "other").status_code == 200
    assert server.outcome("other") == ["other"]


def test_outcomes_that_nobody_reads_make_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PAGES", 5)
    for _ in range(30):
        session = uuid.uuid4().hex
        assert server.join(1, session).status_code == 200
        wait_until(lambda: server.light[-1:] == [session])  # noqa: B023 - asked at once
    assert server.app is not None
    queue = server.app._queue
    assert len(queue.pending_messages_per_session) <= 6
    assert set(queue.pending_event_ids_session) <= set(queue.pending_messages_per_session)
    assert server.outcome(session) == [session], "the newest is still there"


def test_no_route_leads_around_the_queue(server: Server) -> None:
    for path in ("run", "api"):
        answer = httpx.post(f"{server.url}gradio_api/{path}/light", json={"data": ["x"], "fn_index": 1})
        assert answer.status_code == 404
    assert server.light == []


def test_a_page_costs_little(server: Server) -> None:
    assert server.join(1, "one").status_code == 200
    assert server.outcome("one") == ["one"]
    assert server.app is not None
    session = server.app.state_holder["one"]
    assert type(session) is Session
    assert not session.config_values
