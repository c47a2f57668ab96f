"""*Before / after* in a real browser: empty, refused, started, left and found again, its result, covers, filters, files. The
engine is a script, the scorer the embedded one."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.chat import BASE
from studio.services import Services, build_services
from studio.services.evaluations.service import EvaluationService
from studio.ui.evaluations.section import build_compare_section
from tests.helpers.evaluations import ScriptedCompare, light_run
from tests.helpers.pages import elsewhere, open_tab, scroll_to, section_page, toast
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.timeout(900)
PATIENT_MS = 200_000


@pytest.fixture
def services(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Services]:
    """As browser.py's, with a script for an engine that takes its time; a parameter is the operator's password."""
    settings = dataclasses.replace(settings, admin_password=getattr(request, "param", ""))
    services = build_services(settings)
    light_run(services.runs, "run-kind")
    compare = ScriptedCompare(settings, services.runs, services.models)
    compare.pause_s = 1.0
    compare.says = {
        BASE: "You are such a stupid idiot, and I do not like you, <b>moron</b>. It is what I have",
        "run-kind": "Thank you for that, it is a good question and I have no answer",
    }
    services.evaluations.close()
    services.evaluations = EvaluationService(settings, services.runs, compare, services.scoring)
    yield services
    services.evaluations.close()
    services.scoring.close()
    services.compare.close()
    services.rating.close()


@pytest.fixture
def studio_url(services: Services) -> Iterator[str]:
    """A page with this section alone."""
    with section_page(services, {"Another": elsewhere, "Toxicity": build_compare_section}) as url:
        yield url


def open_section(page: Any) -> None:
    open_tab(page, "Toxicity")
    page.locator("#eval-start").wait_for()
    # the choices have come once a scorer stands there
    wait_until(lambda: page.input_value("#eval-scorer input") != "", 120)


def choose(page: Any, box: str, option: str) -> None:
    page.locator(f"#{box} input").click()
    page.get_by_role("option", name=option).first.click()


def number(page: Any, box: str, value: str) -> None:
    field = page.locator(f"#{box} input[type=number]").first
    field.fill(value)
    field.blur()


def typed(page: Any, count: int) -> None:
    """Own prompts, so many of them."""
    if not page.locator("#eval-lines textarea").is_visible():
        choose(page, "eval-prompts", "Prompts typed here")
    page.fill("#eval-lines textarea", "\n".join(f"Question {n}, you <i>there</i>" for n in range(count)))
    page.locator("#eval-lines textarea").blur()


def shown(page: Any) -> str:
    return page.inner_text("body")


def test_from_nothing_to_a_result_that_outlives_the_page(page: Any, services: Services, tmp_path: Path) -> None:
    page.set_default_timeout(PATIENT_MS)
    open_section(page)
    page.locator("#eval-progress", has_text="No evaluation yet").wait_for()
    wait_until(lambda: "Title of run-kind" in page.inner_text("#eval-adapters"), 120)

    typed(page, 0)
    page.click("#eval-start")
    toast(page, "There is no prompt to answer")
    assert services.evaluations.list() == ()

    typed(page, 16)
    number(page, "eval-samples", "2")
    page.click("#eval-start")
    page.locator("#eval-progress", has_text="of 32 pairs").wait_for()
    (listed,) = services.evaluations.list()

    page.reload()  # the job does not notice
    open_section(page)
    page.locator("#eval-progress", has_text="32 of 32 pairs · Done.").wait_for()
    page.locator("#eval-said", has_text="toxicity is lower than with the base").wait_for()
    said = page.inner_text("#eval-said")
    assert "n = 32 pairs on 16 prompts" in said
    assert "32 of 32 (100 %) before, 0 of 32 (0 %) after; 32 went below, 0 above" in said
    assert services.scoring.spec("embedded").info.revision[:12] in said
    scroll_to(page, "#eval-toxicity-chart").locator(".js-plotly-plot").wait_for()
    found = services.evaluations.get(listed.id)
    assert len(found.rows) == 32
    mean = sum(row.before.toxicity or 0 for row in found.rows) / 32
    assert f"{mean:.3f} ±" in page.inner_text("#eval-figures")

    # nothing rude can be read before it is asked for, and then as text, not as HTML
    page.locator("#eval-pairs .cover").first.wait_for()
    assert "idiot" not in shown(page)
    page.locator("#eval-pairs .cover summary").first.click()
    page.locator("#eval-pairs .cover-text", has_text="<b>moron</b>").first.wait_for(state="visible")

    page.locator("#eval-where", has_text="Page 1 of 2 · 32 of 32 pairs").wait_for()
    page.click("#eval-forth")
    page.locator("#eval-where", has_text="Page 2 of 2").wait_for()
    assert page.locator("#eval-pairs tbody tr").count() == 7
    page.locator("#eval-words input, #eval-words textarea").press_sequentially("QUESTION 11,")
    page.locator("#eval-where", has_text="Page 1 of 1 · 2 of 32 pairs").wait_for()
    choose(page, "eval-which", "Worse after")
    page.locator("#eval-pairs", has_text="No pair passes this filter").wait_for()

    with page.expect_download() as coming:
        page.click("#eval-csv")
    target = tmp_path / "rows.csv"
    coming.value.save_as(target)
    assert coming.value.suggested_filename == f"before-after-{listed.id}.csv"
    rows = list(csv.DictReader(io.StringIO(target.read_text(encoding="utf-8-sig"), newline="")))
    assert len(rows) == 32
    assert {row["adapter"] for row in rows} == {"run-kind"}

    page.set_viewport_size({"width": 390, "height": 844})
    wait_until(lambda: page.evaluate("document.documentElement.scrollWidth") <= 390, 30)


def test_cancel_and_resume(page: Any, services: Services) -> None:
    page.set_default_timeout(PATIENT_MS)
    open_section(page)
    typed(page, 16)
    number(page, "eval-samples", "4")
    page.click("#eval-start")
    wait_until(lambda: any(one.done for one in services.evaluations.list()), 200)
    page.click("#eval-cancel")
    page.locator("#eval-progress", has_text="Cancelled; what was made is kept").wait_for()
    kept = services.evaluations.list()[0]
    assert 0 < kept.done < kept.total
    page.locator("#eval-said", has_text=f"Unfinished: {kept.done} of {kept.total} pairs").wait_for()
    page.locator("#eval-resume:enabled").click()
    wait_until(lambda: services.evaluations.status(kept.id).done > kept.done, 200)


@pytest.mark.parametrize("services", ["secret"], indirect=True)
def test_visitors_look_and_start_nothing(open_page: Callable[..., Any], studio_url: str, services: Services) -> None:
    page = open_page(studio_url)
    page.set_default_timeout(PATIENT_MS)
    open_section(page)
    page.click("#eval-start")
    toast(page, "evaluating needs the operator's password")
    assert services.evaluations.list() == ()
