"""Keeping and publishing a result in a real browser: its own page, the report as a file, another title, deleting it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.services import Services
from tests.helpers.evaluations import make_evaluation, store_evaluation
from tests.helpers.pages import open_tab
from tests.helpers.waiting import wait_until

TABS = ("Toxicity",)


def test_keep_link_report_rename_delete(services: Services, studio_url: str, open_page: Callable[..., Any]) -> None:
    store_evaluation(services.settings, make_evaluation())
    page = open_page(studio_url)
    open_tab(page, "Toxicity")
    open_tab(page, "Before / after")
    kept = page.locator("#eval-kept")
    kept.get_by_text("Not kept").wait_for()
    visitor = open_page(f"{studio_url}results/0123456789abcdef")
    assert "not kept" in visitor.inner_text("body")

    page.click("#eval-keep-on")
    link = kept.get_by_role("link", name="results/0123456789abcdef")
    link.wait_for()
    visitor.reload()
    visitor.get_by_text("What was found").wait_for()
    answer = visitor.locator(".eval-pairs .cover-text").first
    assert not answer.is_visible()
    visitor.locator(".eval-pairs .cover summary").first.click()
    answer.wait_for()

    with page.expect_download() as download:
        page.click("#eval-report")
    assert download.value.suggested_filename == "before-after-0123456789abcdef.html"
    assert "What was found" in Path(download.value.path()).read_text(encoding="utf-8")

    title = page.locator("#eval-kept-title input, #eval-kept-title textarea").first
    title.fill("Shown on Monday")
    title.press("Enter")
    wait_until(lambda: services.evaluations.get("0123456789abcdef").spec.title == "Shown on Monday", 60)
    page.click("#eval-delete")
    page.click("#eval-unsure")
    page.locator("#eval-sure").wait_for(state="hidden")
    page.click("#eval-delete")
    page.click("#eval-sure")
    page.locator("#eval-keep").wait_for(state="hidden")
    assert services.evaluations.list() == ()
