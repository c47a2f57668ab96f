"""Pairs that a person writes, in the browser: from typing to data that trains, with a refresh between."""

from __future__ import annotations

from typing import Any

from studio.services import Services
from tests.helpers.pages import expand
from tests.helpers.waiting import wait_until

TABS = ("Align",)


def write(page: Any, prompt: str, preferred: str, rejected: str) -> None:
    """Type one pair and add it."""
    for name, text in (("prompt", prompt), ("preferred", preferred), ("rejected", rejected)):
        page.locator(f"#draft-{name} textarea, #draft-{name} input").first.fill(text)
    page.locator("#draft-add").click()


def rows(page: Any) -> list[str]:
    """Every cell of the draft's table, in reading order."""
    cells = page.locator("#draft-table [role=gridcell]").filter(visible=True)
    return [text.strip() for text in cells.all_inner_texts()]


def test_pairs_are_written_changed_and_kept(page: Any, studio_url: str, services: Services) -> None:
    report = page.locator("#draft-report")
    expand(page, "#draft-box")
    write(page, "Tea?", "Yes, tea.", "No tea.")
    wait_until(lambda: rows(page) == ["1", "Tea?", "Yes, tea.", "No tea."])
    write(page, "Rain?", "It <b>rains</b>.", "It is dry.")
    wait_until(lambda: rows(page)[4:] == ["2", "Rain?", "It <b>rains</b>.", "It is dry."])
    page.reload()  # a draft stays in the browser
    expand(page, "#draft-box")
    page.locator("#draft-table [role=gridcell]").filter(has_text="It is dry.", visible=True).first.click()
    wait_until(lambda: page.locator("#draft-rejected textarea").input_value() == "It is dry.")
    page.locator("#draft-flip").click()
    wait_until(lambda: rows(page)[4:] == ["2", "Rain?", "It is dry.", "It <b>rains</b>."])
    page.locator("#draft-undo").click()
    wait_until(lambda: rows(page)[4:] == ["2", "Rain?", "It <b>rains</b>.", "It is dry."])
    page.locator("#draft-title").get_by_label("Title").fill("Weather")
    page.locator("#draft-save").click()
    report.get_by_text("Saved Weather: 2 training pairs").wait_for()
    mine = next(info for info in services.datasets.list() if info.title == "Weather")
    assert [pair.support for pair in services.datasets.get(mine.id).pairs] == ["Yes, tea.", "It <b>rains</b>."]
    page.locator("#preview-count", has_text="2 pairs").wait_for()
    write(page, "Again?", "Same", "Same")
    page.get_by_text("are the same answer; change one").wait_for()
