"""Fetching a base on the page: terms, progress, cancel; the default base of a first start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.bases import KnownBase
from studio.services import Services
from tests.helpers.pages import toast
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

#: Read by ``studio_url``.
TABS = ("Align",)


@pytest.fixture
def settings(settings: Settings, tiny: KnownBase) -> Settings:
    return replace(settings, base="tiny-base")


def type_base(page: Any, name: str, shown: str) -> None:
    """Type a base until the line below it says ``shown``: what is typed while the page still loads its choices is lost."""

    def typed() -> bool:
        if page.locator("#base-needs", has_text=shown).count():
            return True
        box = page.locator("#base input")
        box.fill(name)
        box.press("Enter")
        return False

    wait_until(typed, timeout=120, every=3)


def chosen(page: Any, name: str) -> None:
    page.wait_for_function(f"document.querySelector('#base input')?.value === {name!r}")


def test_terms_progress_cancel_and_a_default_that_comes_later(
    open_page: Callable[..., Any], studio_url: str, services: Services, tiny: KnownBase
) -> None:
    page = open_page(studio_url)
    chosen(page, "Embedded (ships with the studio)")
    page.locator("#base-needs", has_text="parameters").wait_for()
    place = page.locator("#train").bounding_box()
    # a default base under terms is not fetched by itself
    services.fetch_default_base()
    page.locator("#fetch-line", has_text="tiny-base stands under the Tiny terms").wait_for()
    # said over the window's foot: nothing moves
    assert page.locator("#train").bounding_box() == place
    bar = page.locator("#fetch-bar").bounding_box()
    assert bar["y"] + bar["height"] == page.viewport_size["height"]
    page.locator("#fetch-close").click()
    page.locator("#fetch-line").wait_for(state="hidden")
    type_base(page, "tiny-base", "Tiny terms")
    page.locator("#base-fetch").click()
    toast(page, "accept them")
    page.locator("#base-terms", has_text="https://terms.example").locator("input").check()
    page.locator("#base-fetch").click()
    page.locator("#fetch-cancel").click()
    page.locator("#fetch-line", has_text="Cancelled").wait_for()
    assert not services.models.info("tiny-base").cached
    # back to the embedded base: this page has chosen, one opened now has not
    type_base(page, "embedded", "2.8 M parameters")
    services.fetches.start("tiny-base", accept_terms=True)
    late = open_page(studio_url)
    late.locator("#fetch-line", has_text="tiny-base").wait_for()
    chosen(late, "Tiny")
    late.locator("#fetch-line").wait_for(state="hidden")
    assert page.locator("#base input").input_value() != "Tiny"
    late.locator("#base-needs", has_text="ready").wait_for()
    # a page that is opened later begins with it
    chosen(open_page(studio_url), "Tiny")


def test_a_visitor_cannot_fetch(
    open_page: Callable[..., Any], settings: Settings, tiny: KnownBase, tmp_path: Path
) -> None:
    from studio.services import build_services
    from studio.ui.shell import TABS
    from tests.helpers.pages import section_page

    services = build_services(replace(settings, admin_password="sesame"))
    with section_page(services, {"Align": TABS["Align"]}) as url:
        page = open_page(url)
        type_base(page, "tiny-base", "Tiny terms")
        page.locator("#base-needs", has_text="Tiny terms").wait_for()
        assert not page.locator("#base-fetch").is_visible()
    services.compare.close()
    services.rating.close()
