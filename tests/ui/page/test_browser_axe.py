"""axe-core on every page a person can open, light and dark: no violation. In the dark only colours are others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from studio.config import ROOT, Settings
from studio.services import Services
from tests.helpers.pages import expand, open_tab
from tests.helpers.pairs import new_pairs, press_until_done

axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="tests/requirements.txt")

pytestmark = pytest.mark.timeout(900)

#: What is looked for. All of it takes a minute of a browser's time.
RULES: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}},
}


@pytest.fixture
def demo(settings: Settings) -> Settings:
    """A run to look at."""
    shutil.copytree(ROOT / "adapters" / "demo-support-90", settings.adapters_dir / "demo-support-90")
    return settings


def violations(page: Any, scheme: str) -> list[str]:
    """Rule, place and reason of everything axe-core finds on the page as it stands."""
    options = {"resultTypes": ["violations"], **RULES[scheme]}
    found = axe_playwright.Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']} ({len(rule['nodes'])}): {' > '.join(map(str, node['target']))[:160]} {node['html'][:160]} {node['failureSummary'][:300]}"
        for rule in found
        for node in rule["nodes"][:4]
    ]


@pytest.mark.parametrize("scheme", list(RULES))
def test_no_page_has_a_violation(
    demo: Settings, services: Services, open_page: Callable[..., Any], studio_url: str, scheme: str
) -> None:
    page = open_page(studio_url, color_scheme=scheme)
    page.locator("#base-needs", has_text="parameters").wait_for()
    page.locator("#run-head", has_text="demo-support-90").wait_for()
    found = {}
    for tab in ("Align", "Compare", "Rate", "Reward", "Toxicity", "Library"):
        open_tab(page, tab)
        page.get_by_role("tabpanel").filter(visible=True).first.wait_for()
        page.wait_for_load_state("load")
        found[tab] = violations(page, scheme)
    services.rating.add_pairs(new_pairs(3))
    press_until_done(services.rating, services.rating.register("Anna")[0])
    open_tab(page, "Rate")
    page.locator("#vote-counts", has_text="3 votes").wait_for()
    expand(page, "#votes-leads")
    page.locator("#votes-table table").wait_for()
    found["Rate with votes"] = violations(page, scheme)
    for path in ("rate", "results", "stage", "runs/demo-support-90"):
        page.goto(studio_url + path)
        page.locator("h1, h2").first.wait_for()
        found[path] = violations(page, scheme)
    page.goto(f"{studio_url}present")
    page.locator("body[data-screen=vote] #code svg").wait_for()
    found["present"] = violations(page, scheme)
    page.get_by_role("button", name="Close and reveal").click()
    page.locator("#outcome .ahead").wait_for()
    found["present, closed"] = violations(page, scheme)
    assert {name: some for name, some in found.items() if some} == {}
