"""Align in a real browser: the dial, a run watched from several pages, its end, the history. Training plays a script
(tests/helpers/scripted_trainer.py), so that what is tested here is the page; test_api.py trains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.services import Services
from tests.helpers.compare import add_run
from tests.helpers.pages import expand, give, open_tab, scroll_to, toast
from tests.helpers.runs import queue, scripted
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

#: Long enough to be stopped by hand however slow the machine is.
LONG = "steps=2000 pause=0.25"
CHART = "document.querySelector('#charts .js-plotly-plot')"


@pytest.fixture
def trainer(settings: Settings) -> Iterator[None]:
    with scripted(settings, idle_exit_s=600):
        yield


def counted(page: Any, text: str) -> None:
    page.locator("#preview-count", has_text=text).wait_for()


def dial(page: Any, name: str, value: float) -> None:
    box = page.locator(f"#{name} input[type=number]")
    box.fill(str(value))
    box.blur()


def field(page: Any, label: str, value: str) -> None:
    box = page.locator("#advanced").get_by_label(label)
    box.fill(value)
    box.blur()


def head(page: Any, text: str) -> None:
    page.locator("#run-head", has_text=text).wait_for()


def line(page: Any, text: str) -> Any:
    return page.locator("#history [role=gridcell]").filter(has_text=text, visible=True).first


def run_ids(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.adapters_dir.glob("live-action*"))


def test_the_dial_previews_and_bad_input_is_named(
    page: Any, services: Services, settings: Settings, tmp_path: Path
) -> None:
    counted(page, "50 pairs: 45 prefer support, 5 prefer oppose")
    page.locator("#base-needs", has_text="M parameters").wait_for()
    expand(page, "#data-box")
    dial(page, "support-ratio", 0.2)
    counted(page, "50 pairs: 10 prefer support, 40 prefer oppose")
    page.locator("#outlook", has_text="56 steps.").wait_for()
    dial(page, "data-size", 20)
    counted(page, "20 pairs: 4 prefer support, 16 prefer oppose")
    page.locator("#outlook", has_text="24 steps.").wait_for()
    sides = page.locator("#preview [role=gridcell]").filter(
        has_text=re.compile(r"^\s*(support|⇄ oppose)\s*$"), visible=True
    )
    assert sides.nth(0).inner_text().strip() == "support"
    box = sides.nth(0).bounding_box()
    table = page.locator("#preview").bounding_box()
    assert box["x"] + box["width"] <= table["x"] + table["width"] + 1, "the side is cut off"

    # there is something to start from once there is an adapter of this base
    expand(page, "#advanced")
    page.locator("#advanced").get_by_label("Beta").wait_for()
    assert page.locator("#align-start").count() == 0
    page.locator("#advanced button").first.click()
    add_run(services.runs, "earlier")
    expand(page, "#advanced")
    page.click("#align-start input")
    page.get_by_role("option", name="Title of earlier").click()
    for value, words in (("", "beta is empty"), ("-1", "beta is -1"), ("0.5", "")):
        field(page, "Beta", value)
        if words:
            page.click("#train")
            toast(page, words)
    field(page, "Target modules", "<img src=x onerror=document.title='hit'>")
    page.click("#train")
    toast(page, "<img src=x")
    assert page.title() != "hit"
    assert list(settings.adapters_dir.glob("live*")) == []

    expand(page, "#import-box")
    bad = tmp_path / "pairs.json"
    bad.write_text('[{"id": 1, "prompt": "Q?", "support": "Yes.", "oppose": ""}]')
    give(page, "#import-file", bad)
    page.locator("#import-preview", has_text="oppose is empty").wait_for()
    page.click("#import")
    toast(page, "oppose")
    assert not list(settings.imported_dir.glob("*")) if settings.imported_dir.exists() else True
    bad.write_text('[{"id": 1, "prompt": "Q?", "support": "Yes.", "oppose": "No."}]')
    page.locator("#import-file [aria-label='Clear'], #import-file [aria-label='Remove this file']").first.click()
    page.locator("#import-file .file-preview").wait_for(state="detached")
    give(page, "#import-file", bad)
    page.locator("#import-preview", has_text="Read as pairs of two sides, 1 pair.").wait_for()
    page.click("#import")
    page.locator("#import-report", has_text="1 training pairs").wait_for()
    counted(page, "1 pair: 0 prefer support, 1 prefer oppose")  # 0.2 of 1, rounded down


def test_a_run_from_the_dial_to_the_history(
    trainer: None, page: Any, studio_url: str, open_page: Callable[..., Any], services: Services, settings: Settings
) -> None:
    counted(page, "45 prefer support")
    head(page, "No run yet")
    dial(page, "support-ratio", 0.2)
    counted(page, "10 prefer support")
    expand(page, "#advanced")
    field(page, "System prompt", LONG)
    field(page, "Name of the run", "First <b>one</b>")
    page.click("#train")
    head(page, "First <b>one</b>")
    head(page, "running")
    [first] = run_ids(settings)

    # the curve grows, and stays where it was zoomed
    scroll_to(page, "#charts")
    page.wait_for_function(f"{CHART} && {CHART}.data[0].x.length > 3")
    page.evaluate(f"Plotly.relayout({CHART}, {{'xaxis.range': [1, 3], 'xaxis.autorange': false}})")
    seen = page.evaluate(f"{CHART}.data[0].x.length")
    page.wait_for_function(f"{CHART}.data[0].x.length > {seen}")
    assert page.evaluate(f"{CHART}.layout.xaxis.range") == [1, 3]
    page.locator("#run-progress", has_text="of 2000").wait_for()
    page.locator("#reading", has_text="Loss").wait_for()

    # what the form says now is not what the run was made with
    dial(page, "support-ratio", 0.8)
    counted(page, "40 prefer support")
    assert re.search(r"support_ratio\s*0\.2", page.text_content("#run-head"))

    # a refresh and another visitor see the same run
    page.reload()
    head(page, first)
    head(page, "running")
    other = open_page(studio_url)
    head(other, first)
    counted(other, "45 prefer support")

    # the other visitor's run waits its turn, and turns up in the history of this page by itself
    expand(other, "#advanced")
    field(other, "System prompt", "steps=4 pause=0.05")
    field(other, "Name of the run", "Second")
    other.click("#train")
    head(other, "queued")
    other.locator("#run-progress", has_text="1 run before this one").wait_for()
    line(page, "Second").wait_for()
    [second] = [run_id for run_id in run_ids(settings) if run_id != first]

    page.click("#stop-keep")
    head(page, "stopped")
    page.locator("#resume").wait_for()  # beside what was said of its end
    page.locator("#to-chat").wait_for()
    assert services.runs.get(first).status.state == "stopped"

    # the next one goes on by itself, to its result
    head(other, "done")
    other.locator("#run-result", has_text="Asked for 90% support, measured 90%").wait_for()
    assert "Wilson interval" in other.text_content("#run-result")
    other.locator("#film-strip", has_text="Yes.").wait_for()
    line(other, "90% [70%, 97%] n 18").wait_for()

    # overlay, reuse, delete
    other.locator("#overlay input").click()
    other.get_by_role("option").filter(has_text="First").click()
    other.wait_for_function(f"{CHART}.data.filter(t => t.showlegend).length == 2")
    line(other, "First").click()
    head(other, first)
    other.click("#reuse")
    counted(other, "10 prefer support")
    other.wait_for_function("document.querySelector('#support-ratio input[type=number]').value == '0.2'")
    other.click("#delete")
    other.locator("#sure-row", has_text=f"Delete {first}").wait_for()
    other.click("#never-mind")
    other.locator("#sure-row").wait_for(state="hidden")
    assert run_ids(settings) == sorted([first, second])
    other.click("#delete")
    other.click("#sure")
    head(other, second)
    assert run_ids(settings) == [second]
    head(page, second)  # this page was looking at what is gone


def test_discard_takes_a_waiting_run_away_and_an_idle_page_is_quiet(
    services: Services, settings: Settings, page: Any
) -> None:
    queue(settings, "waiting-run")
    head(page, "waiting-run")  # a page that shows nothing shows the first run there is
    page.click("#stop-discard")
    page.locator("#discard-row", has_text="Stop waiting-run and throw away what it has trained?").wait_for()
    page.click("#keep-training")
    page.locator("#discard-row").wait_for(state="hidden")
    assert services.runs.ids() == ["waiting-run"]
    page.click("#stop-discard")
    page.click("#discard-sure")
    head(page, "No run yet")
    page.locator("#discard-row").wait_for(state="hidden")
    assert services.runs.ids() == []
    page.wait_for_timeout(1500)  # what is under way ends
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "queue/join" in request.url else None)
    page.wait_for_timeout(9_000)
    assert len(asked) <= 3


def test_a_run_is_left_alone_in_another_tab_and_followed_to_its_end_after(
    trainer: None, page: Any, services: Services, settings: Settings
) -> None:
    queue(settings, "long-run", LONG)
    head(page, "running")
    page.locator("#run-progress", has_text="of 2000").wait_for()
    open_tab(page, "Compare")
    page.locator("#run-progress").wait_for(state="hidden")

    def told() -> str:
        return str(page.locator("#run-progress").text_content())

    def step() -> int:
        newest = services.runs.get("long-run").last_step
        return newest.step if newest else 0

    def rests() -> bool:
        """Whether the hidden panel stands still while the run goes on for three seconds' steps."""
        before, from_step = told(), step()
        wait_until(lambda: step() >= from_step + 12)
        return told() == before

    wait_until(rests)  # what was asked before the tab was left may still be on its way
    left = told()
    open_tab(page, "Align")
    wait_until(lambda: told() != left)
    seen = page.evaluate(f"{CHART}.data[0].x.length")
    page.wait_for_function(f"{CHART}.data[0].x.length > {seen}")
    services.runs.stop("long-run", "keep")
    head(page, "stopped")
    page.locator("#to-chat").wait_for()


def test_the_page_fits_a_phone(open_page: Callable[..., Any], studio_url: str, settings: Settings) -> None:
    queue(settings, "waiting-run")
    page = open_page(studio_url, viewport={"width": 390, "height": 844})
    head(page, "waiting-run")
    wait_until(lambda: page.evaluate("document.documentElement.scrollWidth") <= 390)
