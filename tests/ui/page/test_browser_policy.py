"""The whole page in a browser under its own policy: nothing foreign is asked for, plots are drawn, ids are unique; the operator's
box."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from studio.config import Settings
from studio.services import Services, build_services
from studio.ui.shell import TABS as ALL_TABS
from studio.ui.shell import build_app
from tests.helpers.pages import open_tab, toast

PASSWORD = "a password of the operator"
_DOUBLED = """() => {
    const count = {};
    for (const part of document.querySelectorAll('[id]')) if (part.id) count[part.id] = (count[part.id] || 0) + 1;
    return Object.keys(count).filter((id) => count[id] > 1 && !id.startsWith("plotly.js"));
}"""


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    services = build_services(dataclasses.replace(settings, admin_password=PASSWORD))
    yield services
    services.compare.close()
    services.rating.close()


def test_the_page_works_under_its_policy(open_page: Callable[..., Any], studio_url: str) -> None:
    page = open_page("about:blank")
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(studio_url)
    for label in ALL_TABS:
        open_tab(page, label)
        page.locator(f"#studio-tabs button[role=tab][aria-selected=true]:has-text('{label}')").first.wait_for()
        assert page.evaluate(_DOUBLED) == []
    page.locator("#rate-tally, #studio-tabs").first.wait_for()
    assert page.evaluate("document.fonts.status") == "loaded"
    assert [url for url in asked if not url.startswith((studio_url, "data:", "blob:"))] == []
    assert complaints == []


def test_unlock_reload_and_lock(open_page: Callable[..., Any], studio_url: str) -> None:
    page = open_page(studio_url)
    box = page.locator("#operator-password input")
    box.fill("guess")
    box.press("Enter")
    toast(page, "not the operator's password")
    box.fill(PASSWORD)
    box.press("Enter")
    page.locator("#operator-lock").wait_for()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (True, "Strict", -1)
    assert "studio_operator" not in page.evaluate("document.cookie")
    page.reload()
    page.locator("#operator-lock").click()
    box.wait_for()
    assert page.context.cookies() == []


def test_element_ids_are_unique(services: Services) -> None:
    ids = Counter(block.elem_id for block in build_app(services).blocks.values() if getattr(block, "elem_id", None))
    assert [name for name, count in ids.items() if count > 1] == []
