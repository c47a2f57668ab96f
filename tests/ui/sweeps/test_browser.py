"""The Sweep section in a real browser: start, follow, read, download; nothing trains here (see tests/helpers/sweeps.py)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.services import Services
from tests.helpers.pages import expand, scroll_to, toast
from tests.helpers.sweeps import QUESTION, end_run, no_trainer, share

TABS = ("Align",)
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def untrained(settings: Settings) -> Iterator[None]:
    with no_trainer(settings):
        yield


def download(page: Any, button: str) -> Path:
    with page.expect_download() as saved:
        page.click(button)
    return Path(saved.value.path())


def test_a_sweep_is_started_stopped_and_read(page: Any, services: Services) -> None:
    expand(page, "#sweep-box")
    values = page.locator("#sweep-values input, #sweep-values textarea")
    values.fill("0, abc")
    page.click("#sweep-start")
    toast(page, "must be numbers")
    page.locator("#sweep-values .field-error", has_text="Values: '0, abc' must be numbers").wait_for()
    values.fill("0, 1")
    page.locator("#sweep-values .field-error").wait_for(state="detached")
    page.click("#sweep-start")
    page.locator("#sweep-head", has_text="0 of 2 runs ended").wait_for()
    page.locator("#sweep-runs [role=gridcell]").filter(has_text="support_ratio 1", visible=True).first.wait_for()
    page.click("#sweep-stop")
    page.locator("#sweep-head", has_text="2 of 2 runs ended").wait_for()
    page.click("#sweep-resume:not([disabled])")
    page.locator("#sweep-head", has_text="0 of 2 runs ended").wait_for()
    (sweep,) = services.sweeps.list()
    first, second = (run.run for run in sweep.runs)
    end_run(services, first, None, "failed")
    end_run(services, second, share(19, 20))
    page.locator("#sweep-says", has_text="95%").wait_for()
    scroll_to(page, "#sweep-chart")
    page.wait_for_function("document.querySelector('#sweep-chart .js-plotly-plot')?.data?.length === 2")
    card = page.locator("#sweep-answers figure", has_text=f"Answer <b>of</b> {second}.")  # as text, not as HTML
    card.wait_for()
    assert page.input_value("#sweep-question input") == QUESTION
    points = json.loads(download(page, "#sweep-json").read_text())["points"]
    assert [point["state"] for point in points] == ["failed", "done"]
    rows = list(csv.DictReader(download(page, "#sweep-csv").read_text(encoding="utf-8-sig").splitlines()))
    assert [row["share"] for row in rows] == ["", "0.95"]
    assert download(page, "#sweep-svg").read_bytes().startswith(b"<svg")
    assert download(page, "#sweep-png").read_bytes().startswith(b"\x89PNG")
    page.locator("#sweep-runs [role=gridcell]").filter(has_text="It failed.", visible=True).first.click()
    page.locator("#run-head", has_text=first).wait_for()
    # another page finds it as it stands
    page.reload()
    expand(page, "#sweep-box")
    page.locator("#sweep-says", has_text="95%").wait_for()
