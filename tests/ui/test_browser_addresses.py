"""Addresses in a real browser: opened, kept true, walked back, copied, refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.config import ROOT, Settings
from studio.services import Services
from studio.services.votes.kept import kept_heads
from tests.helpers.pages import open_tab, toast
from tests.helpers.votes import cast, new_pair

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def demos(settings: Settings) -> None:
    for name in ("demo-support-10", "demo-support-90"):
        shutil.copytree(ROOT / "adapters" / name, settings.adapters_dir / name)


def test_what_is_shown_has_an_address(demos: None, open_page: Callable[..., Any], studio_url: str) -> None:
    page = open_page(f"{studio_url}?tab=compare&run=demo-support-10&__theme=light")
    page.locator("#panes [data-run=demo-support-10]").wait_for()
    open_tab(page, "Align")
    page.wait_for_url("**/?tab=align&run=demo-support-*&__theme=light")
    shown = page.locator("#run-head [data-run]").get_attribute("data-run")
    other = "demo-support-90" if shown == "demo-support-10" else "demo-support-10"
    page.locator("#history [role=gridcell]").filter(has_text=other, visible=True).first.click()
    page.wait_for_url(f"**/?tab=align&run={other}&__theme=light")

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"{studio_url}?run={other}"

    page.go_back()
    page.locator(f"#run-head [data-run={shown}]").wait_for()
    page.go_back()
    page.locator("#panes [data-run=demo-support-10]").wait_for()
    page.go_forward()
    page.locator(f"#run-head [data-run={shown}]").wait_for()

    page.goto(f"{studio_url}?run=<img src=x onerror=alert(1)>")
    toast(page, "is not a run id")
    page.wait_for_url(studio_url)
    page.locator("#run-head [data-run]").wait_for()


def test_a_result_of_votes_is_kept_opened_and_left(
    services: Services, open_page: Callable[..., Any], studio_url: str
) -> None:
    ids = services.rating.add_pairs([new_pair(n) for n in range(6)]).ids
    cast(services.rating, services.rating.register("Ada")[0], dict.fromkeys(ids, "1"))
    page = open_page(f"{studio_url}?tab=rate")
    page.click("#keep-votes")
    page.locator("#votes-head", has_text="Kind against Base model").wait_for()
    (kept,) = kept_heads(services.rating)
    page.wait_for_url(f"**/?tab=rate&votes={kept.id}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save page").click()
    assert download.value.suggested_filename == f"votes-{kept.id}.html"
    assert "What was found" in Path(download.value.path()).read_text(encoding="utf-8")

    cast(services.rating, services.rating.register("Ben")[0], dict.fromkeys(ids, "2"))
    other = open_page(f"{studio_url}?votes={kept.id}")
    other.locator("#vote-counts", has_text="6 votes by 1 rater").wait_for()
    other.get_by_label("Result", exact=True).click()
    other.get_by_role("option", name="Now").click()
    other.locator("#vote-counts", has_text="12 votes by 2 raters").wait_for()
    other.wait_for_url("**/?votes=now&tab=rate")
    other.go_back()
    other.locator("#vote-counts", has_text="6 votes by 1 rater").wait_for()
    title = other.locator("#kept-votes-title input, #kept-votes-title textarea").first
    title.fill("Monday")
    title.press("Enter")
    other.locator("#votes-head", has_text="Monday").wait_for()
    assert "Monday" in open_page(f"{studio_url}results").inner_text("main")
    other.click("#kept-votes-delete")
    other.click("#kept-votes-sure")
    other.locator("#vote-counts", has_text="12 votes by 2 raters").wait_for()
    assert kept_heads(services.rating) == ()
