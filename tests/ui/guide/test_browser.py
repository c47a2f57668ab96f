"""The demo in a real browser with a real training, left and taken up again in the middle, and on a slow server; and a tour."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest

from studio.config import ROOT, Settings
from studio.services import Services
from tests.helpers.pages import open_tab
from tests.helpers.pairs import press_until_done

pytestmark = pytest.mark.timeout(1200)
SLOW_MS = 600_000

HIDES_NOTHING = """() => {
    const [card, code] = [".guide-card", "#rate-code"].map((at) => document.querySelector(at).getBoundingClientRect());
    return card.right < code.left || card.left > code.right || card.bottom < code.top || card.top > code.bottom;
}"""


def says(page: Any, words: str, timeout: float | None = None) -> None:
    page.locator(".guide-card .said", has_text=words).wait_for(timeout=timeout)


def go_on(page: Any) -> None:
    page.locator(".guide-card .next:not(:disabled)").click(timeout=SLOW_MS)


def test_the_demo_from_the_dial_to_the_result(page: Any, services: Services) -> None:
    page.locator("#preview-count", has_text="45 prefer support").wait_for()
    before = page.locator("#studio-tabs").bounding_box()
    page.click("#demo-start")
    says(page, "This dial")
    assert page.locator("#studio-tabs").bounding_box() == before  # the card takes no room
    box = page.locator("#data-size input[type=number]")
    box.fill("8")
    box.blur()
    page.locator("#preview-count", has_text="8 pairs").wait_for()
    go_on(page)
    says(page, "Train a small adapter")
    go_on(page)
    says(page, "It trains", SLOW_MS)

    # left, and taken up again by the same browser
    page.keyboard.press("Escape")
    page.locator(".guide-card").wait_for(state="detached")
    page.reload()
    page.get_by_role("button", name="Continue the demo").click()
    says(page, "It trains")
    go_on(page)
    says(page, "What you asked for")
    go_on(page)
    says(page, "the same question", SLOW_MS)
    go_on(page)
    says(page, "People judge blind", SLOW_MS)
    go_on(page)
    says(page, "Three votes", SLOW_MS)
    page.wait_for_function(HIDES_NOTHING)  # the code stands in view, beside the voting page
    assert page.locator(".guide-card .next").is_disabled()
    page.locator("#batch-bar", has_text="Done.").wait_for()
    for name in ("Anna", "Ben", "Chloe"):
        press_until_done(services.rating, services.rating.register(name)[0])
    go_on(page)
    says(page, "Who leads")
    page.locator("#votes-said li").first.wait_for()
    go_on(page)
    page.get_by_role("button", name="Run the demo").wait_for()
    assert page.locator(".guide-card").count() == 0

    # the tour of the tab one is on, skipped and then remembered
    tour = page.locator("#tour-start.fresh")
    tour.click()
    says(page, "as phones see it")
    page.get_by_role("button", name="Skip").click()
    page.locator("#tour-start:not(.fresh)").wait_for()
    open_tab(page, "Library")
    tour.wait_for()


def test_the_demo_waits_for_a_form_that_is_filled_late(
    open_page: Any, studio_url: str, settings: Settings, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "adapters" / "demo-support-10", settings.adapters_dir / "demo-support-10")
    offered = services.sources.prompt_sources

    def slowly() -> Any:
        time.sleep(3)
        return offered()

    monkeypatch.setattr(services.sources, "prompt_sources", slowly)
    page = open_page("about:blank")
    left_at = json.dumps({"demo": 5, "then": {}})  # where people judge
    page.add_init_script(f"localStorage.setItem('alignment-studio-guide', {left_at!r})")
    page.goto(studio_url)
    page.get_by_role("button", name="Continue the demo").click()
    says(page, "People judge blind")
    go_on(page)
    says(page, "Three votes")
    assert services.sources.batch_status().total == 3
