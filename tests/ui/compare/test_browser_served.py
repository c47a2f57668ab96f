"""Compare where a server answers: who answers, an answer that breaks off, a server that is gone and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from studio.config import Settings
from studio.services import Services
from tests.helpers.answer_server import AnswerServer, Fault, answer_server
from tests.helpers.chat_models import EMBEDDED
from tests.helpers.compare import add_run

TABS = ("Compare",)
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with answer_server(EMBEDDED, "embedded") as made:
        yield made


@pytest.fixture
def settings(settings: Settings, server: AnswerServer) -> Settings:
    return replace(settings, chat_url=server.url, chat_key="sk-hidden")


def test_a_page_lives_on_whatever_the_server_does(services: Services, server: AnswerServer, request: Any) -> None:
    add_run(services.runs, "run-1")
    page = request.getfixturevalue("page")
    page.locator("#pane-identity-1", has_text="A server answers; the base it holds cannot be checked here.").wait_for()
    page.fill("#prompt textarea", "Is <b>this</b> real?")
    server.faults.append(Fault("/v1/completions", pieces=3))
    page.press("#prompt textarea", "Enter")
    page.get_by_text("broke off in the middle of an answer; ask again.").wait_for()
    page.locator("#pane-stats-1", has_text="Not answered yet").wait_for()
    assert page.inner_text("#chat-1 .user.message").strip() == "Is <b>this</b> real?"

    server.faults.append(Fault("/v1/completions", 401, "sk-hidden is wrong"))
    page.click("#retry")
    page.get_by_text("refuses the key; STUDIO_CHAT_KEY must be its own.").wait_for()
    assert "sk-hidden" not in page.content()

    page.click("#retry")
    for pane in (1, 2):
        page.locator(f"#pane-stats-{pane}", has_text="tokens/s").wait_for()
    page.wait_for_selector("#send:not([disabled])")
    page.click("#pane-words-2")
    page.wait_for_selector("#pane-moved-2 .moved-text .token")
