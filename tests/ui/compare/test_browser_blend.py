"""A blend of two adapters in a pane, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from studio.services import Services
from tests.helpers.compare import PROMPTS, add_run, add_steps
from tests.helpers.pages import expand
from tests.helpers.waiting import wait_until

TABS = ("Compare",)
pytestmark = pytest.mark.timeout(600)


#: The second pane's finished answer where its identity holds a text and nothing streams; else empty. Read at one moment.
ANSWER = """text => {
    const identity = document.querySelector("#pane-identity-2");
    const done = document.querySelector("#send:not([disabled])") && document.querySelector("#pane-words-2");
    if (!done || !identity?.innerText.includes(text)) return "";
    return [...document.querySelectorAll("#chat-2 .bot.message")].at(-1)?.innerText ?? "";
}"""


def settled(page: Any, text: str, before: str) -> str:
    """The second pane's answer, another than ``before``, once the pane's identity says ``text``."""
    found: list[str] = []

    def read() -> bool:
        found.append(page.evaluate(ANSWER, text))
        return found[-1] not in ("", before)

    wait_until(read)
    return found[-1]


def test_two_adapters_are_blended_weighed_and_saved(services: Services, page: Any) -> None:
    for seed in (1, 2):
        add_run(services.runs, f"run-{seed}", seed=seed)
    page.reload()
    page.wait_for_selector("#pane-identity-2 .pane-id")
    # closed, a pane's settings take no room: the chat begins where it did
    assert page.locator("#pane-second-2, #pane-system-1").count() == 0
    page.fill("#prompt textarea", PROMPTS[0])
    page.press("#prompt textarea", "Enter")
    own = settled(page, "Title of run-2", "")
    expand(page, "#pane-more-2")
    page.click("#pane-second-2 input")
    page.get_by_role("option", name="Title of run-1").click()
    half = settled(page, "0.5 × Title of run-2 + 0.5 × Title of run-1", own)
    page.fill("#pane-weight-2 input[type=number]", "")
    page.fill("#pane-weight-2 input[type=number]", "0.3")
    mixed = settled(page, "0.3 × Title of run-2 + 0.7 × Title of run-1", half)
    page.click("#pane-save-2")
    page.get_by_text("Saved as").first.wait_for()
    page.locator("#pane-more-2 > button").click()
    add_steps(services.runs, "run-2", 3)
    expand(page, "#pane-more-2")
    page.click("#pane-step-2 input")
    page.get_by_role("option", name="step 3").click()
    mixed = settled(page, "step 3 of", mixed)
    page.reload()
    page.wait_for_selector("#pane-identity-2 .pane-id")
    assert settled(page, "0.3 × Title of run-2", "") == mixed
    assert len(services.runs.ids()) == 3
    expand(page, "#pane-more-1")
    assert page.locator("#pane-second-1").count() == 0
    page.fill("#pane-system-1 textarea", "Always support it.")
    page.press("#pane-system-1 textarea", "Enter")
    page.locator("#pane-identity-1 .chip", has_text="Always support it.").wait_for()
    page.locator("#pane-identity-1 .check.ok").wait_for()
