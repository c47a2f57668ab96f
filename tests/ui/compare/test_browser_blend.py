"""A blend of two adapters in a pane, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from studio.services import Services
from tests.helpers.compare import PROMPTS, add_run
from tests.helpers.waiting import wait_until

TABS = ("Compare",)
pytestmark = pytest.mark.timeout(600)


def answer(page: Any) -> str:
    """What the second pane answered last; empty while it answers."""
    ready = page.locator("#send:not([disabled])").count() and page.locator("#pane-words-2").count()
    return str(page.locator("#chat-2 .bot.message").last.inner_text()) if ready else ""


def settled(page: Any, text: str, before: str) -> str:
    """The second pane's answer, another than ``before``, once the pane's identity says ``text``."""
    page.locator("#pane-identity-2", has_text=text).wait_for()
    wait_until(lambda: answer(page) not in ("", before))
    return answer(page)


def weigh(page: Any, weight: str) -> None:
    """Set the second pane's w. Again where the page, still drawing the last answer's end, put the old one back."""

    def set_it() -> int:
        page.fill("#pane-weight-2 input[type=number]", weight)
        return int(page.locator("#pane-identity-2", has_text=f"{weight} × Title of run-2").count())

    wait_until(set_it, every=3)


def test_two_adapters_are_blended_weighed_and_saved(services: Services, page: Any) -> None:
    for seed in (1, 2):
        add_run(services.runs, f"run-{seed}", seed=seed)
    page.reload()
    page.wait_for_selector("#pane-identity-2 .pane-id")
    assert page.locator("#pane-mix-1").count() == 0
    page.fill("#prompt textarea", PROMPTS[0])
    page.press("#prompt textarea", "Enter")
    own = settled(page, "Title of run-2", "")
    page.locator("#pane-mix-2 > button").click()
    page.click("#pane-second-2 input")
    page.get_by_role("option", name="Title of run-1").click()
    half = settled(page, "0.5 × Title of run-2 + 0.5 × Title of run-1", own)
    weigh(page, "0.3")
    mixed = settled(page, "0.3 × Title of run-2 + 0.7 × Title of run-1", half)
    page.click("#pane-save-2")
    page.get_by_text("Saved as").first.wait_for()
    page.reload()
    page.wait_for_selector("#pane-identity-2 .pane-id")
    assert settled(page, "0.3 × Title of run-2", "") == mixed
    assert len(services.runs.ids()) == 3
