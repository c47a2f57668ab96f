"""A hall that votes: the page's API over a real store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import httpx
import pytest

from studio.config import Settings
from studio.services import Services, build_services
from studio.services.rating.service import RatingService
from studio.ui.launch import page_options

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Hall:
    """A running server and what a browser would send it."""

    def __init__(self, services: Services, url: str) -> None:
        self.services, self.url = services, url
        self.rating: RatingService = services.rating
        self.http = httpx.Client(base_url=url, timeout=30)

    def post(self, action: str, body: Any = None, **options: Any) -> httpx.Response:
        if not options.keys() & {"content", "json"}:
            options["json"] = {} if body is None else body
        headers = {"content-type": "application/json", **options.pop("headers", {})}
        return self.http.post(f"rate/api/{action}", headers=headers, **options)

    def ask(self, action: str, **body: Any) -> dict[str, Any]:
        answer = self.post(action, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def join(self, name: str = "Anna") -> str:
        return self.ask("register", name=name)["token"]

    def vote(self, token: str, pair: dict[str, Any], press: str = "left", seconds: float = 2.5) -> dict[str, Any]:
        body = {"token": token, "pair": pair["pair_id"], "proof": pair["token"], "press": press, "seconds": seconds}
        return self.ask("vote", **body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """The routes as ``launch()`` is given them, inside Gradio's own server; each test has a store of its own."""
    folder = tmp_path_factory.mktemp("hall")
    services = build_services(Settings(database_url=f"sqlite:///{folder / 'first.db'}", cache_dir=folder / "cache"))
    with gr.Blocks(analytics_enabled=False) as app:
        gr.Markdown("the studio")
    _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **page_options(services))
    yield Hall(services, url)
    app.close()
    services.rating.close()


@pytest.fixture
def hall(server: Hall, settings: Settings) -> Iterator[Hall]:
    server.services.rating = server.rating = RatingService(settings)
    yield server
    server.rating.close()


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert all(word in sentence for word in words), sentence
    assert len(sentence) < 300
    assert "Traceback" not in sentence
