"""The stage in a real browser, by keyboard alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from studio.domain.events import MeasureEvent, SampleEvent
from studio.domain.runs import RunStatus
from studio.services import Services
from studio.services.files.records import LineWriter
from studio.services.runs.status import write_status
from tests.helpers.compare import PROMPTS, add_run
from tests.helpers.runs import make_dataset, make_recipe
from tests.helpers.sweeps import share
from tests.helpers.waiting import wait_until

TABS = ("Compare",)  # which brings the endpoints
pytestmark = pytest.mark.timeout(600)


def settled(page: Any) -> str:
    """The adapter's answer, once the words that moved stand below it."""
    page.locator("#words:not([hidden]) b").first.wait_for()
    return str(page.inner_text("#tuned-text"))


def test_by_keyboard_alone(services: Services, open_page: Callable[..., Any], studio_url: str) -> None:
    for name, ratio, seed, support in (("run-low", 0.1, 1, 1), ("run-high", 0.9, 2, 18)):
        add_run(services.runs, name, ratio=ratio, seed=seed)
        write_status(services.runs.folder(name), RunStatus("done"))
        LineWriter(services.runs.folder(name) / "events.jsonl").write(MeasureEvent("adapter", 4, share(support, 20)))
    page = open_page(studio_url, viewport={"width": 1280, "height": 720})
    page.wait_for_selector("#pane-identity-2 .pane-id")
    with page.context.expect_page() as opening:
        page.click("#to-stage")
    stage = opening.value
    stage.locator("#gauge-share", has_text="90 %").wait_for()
    assert stage.url.endswith("/stage?run=run-high")
    # nothing of the studio around it, and nothing to scroll to
    assert stage.locator("[role=tab], gradio-app, iframe").count() == 0
    assert stage.evaluate(
        "document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth"
    )
    assert stage.input_value("#question") == PROMPTS[0]
    stage.keyboard.press("2")
    assert stage.input_value("#question") == PROMPTS[1]
    stage.keyboard.press("1")
    stage.keyboard.press("Space")
    high = settled(stage)
    base = stage.inner_text("#base-text")
    assert base
    assert base != high
    stage.keyboard.press("ArrowLeft")
    stage.locator("#dial-value", has_text="0.75 × support 0.9 + 0.25 × support 0.1").wait_for()
    stage.locator("#gauge-note", has_text="Not measured at this setting").wait_for()
    wait_until(lambda: stage.locator("#words[hidden]").count() == 1)
    assert settled(stage) != high
    assert stage.inner_text("#base-text") == base, "the base is not asked again"
    for _ in range(3):
        stage.keyboard.press("ArrowLeft")
    stage.locator("#gauge-share", has_text="5 %").wait_for()
    stage.keyboard.press("q")
    stage.locator("#large svg").wait_for()
    stage.keyboard.press("Escape")
    # a question of one's own: the keys are letters there
    stage.keyboard.press("e")
    stage.keyboard.type("q 1 Why?")
    assert stage.input_value("#question") == "q 1 Why?"
    stage.keyboard.press("Enter")
    settled(stage)
    # of a base whose answers end in two tokens, neither is among the words
    ended = [{"text": text, "difference": 1.0} for text in ("word " * 100, "<|end|>", "\n")]
    body = f"event: complete\ndata: {json.dumps([{'tokens': ended}])}\n\n"
    stage.route("**/call/explain/*", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    stage.keyboard.press("Space")
    stage.locator("#words[hidden]").wait_for(state="attached")
    settled(stage)
    assert "<|end|>" not in stage.inner_text("#answers")
    # a run at work takes the screen until somebody asks
    folder = services.runs.create(make_recipe("run-new"), make_dataset())
    LineWriter(folder / "samples.jsonl").write(SampleEvent(step=4, prompt="Other?", answer="At step <b>4</b>."))
    stage.locator("#training", has_text="Title of run-new").wait_for()
    stage.keyboard.press("1")
    stage.locator("#tuned-text", has_text="At step <b>4</b>.").wait_for()
    assert stage.inner_text("#tuned-title") == "Adapted, step 4"


def test_it_fits_a_phone_and_says_what_is_missing(open_page: Callable[..., Any], studio_url: str) -> None:
    page = open_page(f"{studio_url}stage?run=run-9", viewport={"width": 390, "height": 844})
    page.locator("#note", has_text="There is no run run-9.").wait_for()
    page.locator("#dial-value", has_text="No adapter yet").wait_for()
    page.click("#ask")
    page.locator("#note", has_text="train one in the studio").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("#back")
    page.wait_for_url(studio_url)
