"""The Detox section in a real browser: empty, bad input in sentences, a short real run, refresh, stop, transcripts under covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.runs import RunStatus
from studio.services import Services
from studio.services.recipes.queue import keepalive
from studio.services.runs.status import write_status
from tests.helpers.detox_records import detox_recipe, report, transcript, write_lines
from tests.helpers.pages import expand, open_tab, scroll_to, toast
from tests.helpers.runs import make_dataset
from tests.helpers.waiting import wait_until

TABS = ("Align", "Compare", "Toxicity", "Library")
pytestmark = pytest.mark.timeout(1500)

PATIENT_MS = 600_000


def open_detox(page: Any) -> None:
    open_tab(page, "Toxicity")
    open_tab(page, "Detox")
    page.locator("#detox-asked", has_text="prompts to train on").wait_for(timeout=PATIENT_MS)


def number(page: Any, box: str, value: str) -> None:
    field = page.locator(f"#{box} input[type=number]").first
    field.fill(value)
    field.blur()


def pick(page: Any, box: str, typed: str) -> None:
    field = page.locator(f"#{box} input").first
    field.fill(typed)
    field.press("Enter")
    field.blur()


def test_empty_bad_input_a_run_refresh_covers_and_stop(
    page: Any, services: Services, settings: Settings, tiny_base: Path
) -> None:
    open_detox(page)
    assert "No detox run yet" in page.inner_text("#detox-run-head")
    pick(page, "detox-base", str(tiny_base))
    page.locator("#detox-base-needs", has_text="parameters").wait_for()
    number(page, "detox-steps", "0")
    page.click("#detox-train")
    toast(page, "steps is 0")
    assert services.runs.ids() == []

    number(page, "detox-steps", "2000")
    expand(page, "#detox-advanced")
    for box, value in (
        ("detox-prompts-per-step", "2"),
        ("detox-generations", "2"),
        ("detox-batch-size", "0"),
        ("detox-max-new-tokens", "8"),
    ):
        number(page, box, value)
    keepalive(settings)
    page.click("#detox-train")
    page.locator("#detox-run-progress", has_text="of 2000").wait_for(timeout=PATIENT_MS)
    scroll_to(page, "#detox-charts").locator(".js-plotly-plot").wait_for(timeout=PATIENT_MS)
    (view,) = services.runs.list()
    assert view.method == "detox"

    page.reload()
    open_detox(page)
    page.locator("#detox-run-head", has_text=view.run_id).wait_for()
    page.locator("#detox-run-progress", has_text="of 2000").wait_for()
    scroll_to(page, "#detox-charts").locator(".js-plotly-plot").wait_for()
    page.locator("#detox-film-strip .cover").first.wait_for(timeout=PATIENT_MS)
    assert page.locator("#detox-film-strip .cover-text:visible").count() == 0

    page.click("#detox-stop-keep")
    page.locator("#detox-run-head .badge", has_text="stopped").wait_for(timeout=PATIENT_MS)
    page.locator("#detox-resume").wait_for()
    assert services.runs.get(view.run_id).has_adapter

    open_tab(page, "Align")
    page.locator("#run-head", has_text="No run yet").wait_for()
    open_tab(page, "Library")
    page.locator("#library-table", has_text="DETOX").wait_for()


def test_a_done_run_shows_its_report_and_covered_transcripts_and_leads_on(page: Any, services: Services) -> None:
    recipe = detox_recipe("detox-made-1")
    folder = services.runs.create(recipe, make_dataset())
    write_lines(folder / "events.jsonl", [report()])
    write_lines(
        folder / "samples.jsonl", [transcript(0, "Why?", "You fool."), transcript(8, "Why?", "Let me tell you.")]
    )
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    write_status(folder, RunStatus("done", updated=1.0))
    open_detox(page)
    page.locator("#detox-run-result", has_text="Rude answers: 25% → 2%").wait_for()
    told = page.locator("#detox-film-strip .cover-text", has_text="You fool.")
    told.wait_for(state="attached")
    assert not told.is_visible()
    page.locator("#detox-film-strip tr", has_text="reward").locator("summary").nth(1).click()
    told.wait_for(state="visible")
    assert not page.locator("#detox-film-strip .cover-text", has_text="Let me tell you.").is_visible()

    page.set_viewport_size({"width": 390, "height": 844})
    wait_until(lambda: page.evaluate("document.documentElement.scrollWidth") <= 390)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.click("#detox-to-chat")
    wait_until(lambda: any("Detox: toy" in field.input_value() for field in page.locator(".pane input").all()), 120)
    open_tab(page, "Library")
    page.locator("#library-table").get_by_text(recipe.run_id).last.click()
    page.click("#library-to-detox")
    wait_until(lambda: "Detox: toy" in page.input_value("#detox-start input"), 120)
    open_tab(page, "Library")
    page.click("#library-to-score")
    page.locator("#toxicity-sections [role=tab][aria-selected=true]", has_text="Before / after").first.wait_for()
