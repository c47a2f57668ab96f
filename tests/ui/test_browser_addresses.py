"""Addresses in a real browser: opened, kept true, walked back, copied, refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from studio.config import ROOT, Settings
from tests.helpers.pages import toast

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def demos(settings: Settings) -> None:
    for name in ("demo-support-10", "demo-support-90"):
        shutil.copytree(ROOT / "adapters" / name, settings.adapters_dir / name)


def test_what_is_shown_has_an_address(demos: None, open_page: Callable[..., Any], studio_url: str) -> None:
    page = open_page(f"{studio_url}?tab=compare&run=demo-support-10&__theme=light")
    page.locator("#panes [data-run=demo-support-10]").wait_for()
    page.get_by_role("tab", name="Align", exact=True).first.click()
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
