"""Bringing pairs in, in a real browser: from Compare, by a batch that a refresh finds again, from a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.services import Services, build_services
from studio.ui.rating.tab import build_rate_tab
from tests.helpers.compare import PROMPTS, add_run, answer_slowly
from tests.helpers.pages import expand, give, open_tab, section_page
from tests.helpers.preference_transcripts import transcript_rows, write_rows

TABS = ("Compare", "Rate")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def run_id(services: Services) -> str:
    return add_run(services.runs, "run-1", title="A <b>first</b> run", system="Be kind.")


def open_box(page: Any) -> None:
    open_tab(page, "Rate")
    expand(page, "#pairs-box")
    page.wait_for_selector("#pairs-counts .chip, #pairs-counts .empty", state="visible")


def open_compare(page: Any) -> None:
    open_tab(page, "Compare")
    page.wait_for_selector("#pane-identity-2 .pane-id")


def test_the_answers_on_screen_are_added_once(run_id: str, page: Any, services: Services) -> None:
    open_compare(page)
    page.click("#rate-these")
    page.get_by_text("no finished answers on screen").first.wait_for()
    page.fill("#prompt textarea", PROMPTS[0])
    page.press("#prompt textarea", "Enter")
    page.wait_for_selector("#chat-2 .bot.message")  # locked since before the first of it was shown
    page.wait_for_selector("#rate-these:not([disabled])")
    page.click("#sampling button")  # what is set after the answers is not how they were made
    page.fill("#seed input", "77")
    page.press("#seed input", "Tab")
    page.click("#rate-these")
    page.get_by_text("1 pair added to Rate").first.wait_for()
    (pair,) = services.rating.ballots().pairs
    assert (pair.prompt, pair.source, pair.system_prompt) == (PROMPTS[0], "compare", "Be kind.")
    assert {pair.origin_1.kind, pair.origin_2.kind} == {"base", "adapter"}
    assert {pair.origin_1.seed, pair.origin_2.seed} == {1}
    page.reload()  # the browser keeps what was said and how
    open_compare(page)
    page.wait_for_selector("#chat-2 .bot.message")
    page.click("#rate-these")
    page.get_by_text("1 known already").first.wait_for()


def test_a_batch_is_found_again_after_a_refresh_and_cancelled(
    run_id: str, page: Any, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_box(page)
    page.wait_for_selector("#pairs-counts .empty")
    page.click("#batch-start")  # of the shipped data's prompts, base against the newest adapter
    page.wait_for_selector("#batch-bar:has-text('Done.')")
    made = services.sources.batch_status()
    assert made.done == made.total > 0
    page.wait_for_selector(f"#pairs-counts .chip:first-child b:text-is('{made.added:,}')")

    answer_slowly(monkeypatch)
    page.click("#batch-prompts input")
    page.get_by_role("option", name="Prompts typed here").click()
    page.fill("#batch-lines textarea", "\n".join(f"Line {number}?" for number in range(300)))
    page.fill("#batch-most input", "300")
    page.press("#batch-most input", "Tab")
    page.click("#batch-start")
    page.wait_for_selector("#batch-cancel:not([disabled])")
    page.reload()
    open_box(page)
    page.wait_for_selector("#batch-bar:has-text('of 300 prompts')")
    assert page.is_disabled("#batch-start")
    page.click("#batch-cancel")
    page.wait_for_selector("#batch-bar:has-text('Cancelled; what was made is kept.')")
    page.wait_for_selector("#batch-start:not([disabled])")
    assert services.sources.counts()["batch"] == made.added + services.sources.batch_status().added


def test_a_file_is_imported_and_its_rows_accounted_for(page: Any, services: Services, tmp_path: Path) -> None:
    open_box(page)
    page.click("#pairs-import")
    page.get_by_text("nothing to import").first.wait_for()
    rows = [*transcript_rows(60), {"chosen": "<img src=x>"}]
    give(page, "#pairs-file", write_rows(tmp_path / "talks.jsonl.gz", rows))
    page.click("#pairs-import")
    page.wait_for_selector("#pairs-report:has-text('61 rows read: 60 pairs added, 1 skipped.')")
    assert "row 61 (line 61): rejected is missing." in page.inner_text("#pairs-report")
    page.wait_for_selector("#pairs-counts:has-text('60 imported')")
    assert len(services.rating.ballots().pairs) == 60


def test_visitors_bring_nothing_in(settings: Settings, open_page: Callable[..., Any]) -> None:
    services = build_services(replace(settings, admin_password="secret"))
    try:
        with section_page(services, {"Rate": build_rate_tab}) as url:
            page = open_page(url)
            open_box(page)
            for button in ("#batch-start", "#pairs-import"):
                page.click(button)
                page.get_by_text("operator's password").last.wait_for()
        assert services.sources.batch_status().state == "idle"
    finally:
        services.rating.close()


def test_the_box_fits_a_phone(run_id: str, studio_url: str, open_page: Callable[..., Any]) -> None:
    page = open_page(studio_url, viewport={"width": 390, "height": 844})
    open_box(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#batch-start").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 390
