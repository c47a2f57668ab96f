"""Strength and the words that moved, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from studio.services import Services
from tests.helpers.compare import PROMPTS, add_run
from tests.helpers.pages import open_tab

TABS = ("Compare", "Library")
pytestmark = pytest.mark.timeout(900)
NUMBER, RANGE = ("#pane-strength-2 input[type=number]", "#pane-strength-2 input[type=range]")


@pytest.fixture
def run_id(services: Services) -> str:
    return add_run(services.runs, "run-1")


def open_compare(page: Any) -> None:
    open_tab(page, "Compare")
    page.wait_for_selector("#pane-identity-2 .pane-id")


def ask(page: Any, question: str) -> None:
    page.fill("#prompt textarea", question)
    page.press("#prompt textarea", "Enter")
    for pane in (1, 2):
        page.wait_for_selector(f"#chat-{pane} .bot.message")
    page.wait_for_selector("#send:not([disabled])")


def wait_for_strength(page: Any, value: str) -> None:
    """Until the pane says so and its answer is finished."""
    page.locator("#pane-identity-2 .chip", has_text=f"strength {value}").wait_for()
    page.wait_for_selector("#pane-words-2")
    page.wait_for_selector("#send:not([disabled])")


def answer(page: Any, pane: int) -> str:
    return str(page.locator(f"#chat-{pane} .bot.message").last.inner_text())


def test_strength_is_dialled_by_number_and_by_keys_and_a_refresh_keeps_it(run_id: str, page: Any) -> None:
    open_compare(page)
    assert page.locator("#pane-strength-1").count() == 0
    ask(page, PROMPTS[0])
    first, base = answer(page, 2), answer(page, 1)
    page.fill(NUMBER, "0")
    wait_for_strength(page, "0")
    assert answer(page, 2) == base != first
    assert answer(page, 1) == base
    page.focus(RANGE)
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    wait_for_strength(page, "1")
    assert answer(page, 2) == first
    assert page.input_value(NUMBER) == "1"
    page.fill(NUMBER, "0.5")
    wait_for_strength(page, "0.5")
    half = answer(page, 2)
    page.reload()
    open_compare(page)
    wait_for_strength(page, "0.5")
    assert page.input_value(NUMBER) == "0.5"
    assert answer(page, 2) == half
    # another model is what it was trained to be
    page.click("#pane-choice-2 input")
    page.get_by_role("option", name="Base model").click()
    page.wait_for_selector("#pane-strength-2", state="detached")


def test_the_words_that_moved_are_read_with_pointer_and_keys(
    run_id: str, page: Any, open_page: Callable[..., Any], studio_url: str
) -> None:
    open_compare(page)
    assert page.locator("#pane-words-2").count() == 0
    ask(page, PROMPTS[1])
    assert page.locator("#pane-words-1").count() == 0
    page.click("#pane-words-2")
    page.wait_for_selector("#pane-moved-2 .moved")
    tokens = page.locator("#pane-moved-2 .token")
    assert tokens.count() > 1
    assert page.locator("#pane-moved-2 .moved-top li").count() == min(5, tokens.count())
    tips = page.locator("#pane-moved-2 .moved-tip:visible")
    assert tips.count() == 0
    tokens.nth(0).hover()
    tips.filter(has_text="The base here:").wait_for()
    tokens.nth(1).focus()
    page.mouse.move(0, 0)
    tips.filter(has_text="The base here:").wait_for()
    assert tips.count() == 1
    # an answer of another strength is another answer
    page.fill(NUMBER, "0")
    wait_for_strength(page, "0")
    page.wait_for_selector("#pane-moved-2", state="detached")

    phone = open_page(studio_url, viewport={"width": 390, "height": 844})
    open_compare(phone)
    ask(phone, "動" * 300)
    phone.click("#pane-words-2")
    phone.wait_for_selector("#pane-moved-2 .moved")
    phone.locator("#pane-moved-2 .token").last.hover()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
