"""Compare in a real browser: streaming together, stopping, refresh, two visitors, markup as text, the table, a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.services import Services
from tests.helpers.chat_models import make_base
from tests.helpers.compare import PROMPTS, add_run, answer_slowly
from tests.helpers.pages import give, open_tab
from tests.helpers.waiting import wait_until

TABS = ("Compare", "Library")
pytestmark = pytest.mark.timeout(900)

MARKUP = "Is <b>bold</b> & &lt;x&gt; <!-- c --> <img src=x onerror=document.title='hit'> 1 < 2?"


@pytest.fixture
def run_id(services: Services) -> str:
    return add_run(services.runs, "run-1", title="A <b>first</b> run")


def open_compare(page: Any) -> None:
    open_tab(page, "Compare")
    page.wait_for_selector("#pane-identity-1 .pane-id")


def ask(page: Any, question: str) -> None:
    page.fill("#prompt textarea", question)
    page.press("#prompt textarea", "Enter")


def wait_for_answers(page: Any, count: int, *panes: int) -> None:
    for pane in panes:
        page.wait_for_function(f"document.querySelectorAll('#chat-{pane} .bot.message').length >= {count}")
    page.wait_for_selector("#send:not([disabled])")


def stats(page: Any, pane: int, text: str | re.Pattern[str]) -> None:
    page.locator(f"#pane-stats-{pane}", has_text=text).wait_for()


def answers(page: Any, pane: int) -> list[str]:
    return page.locator(f"#chat-{pane} .bot.message").all_inner_texts()


def test_with_no_adapter_the_base_chats_alone_and_says_what_to_do(page: Any) -> None:
    open_compare(page)
    page.wait_for_selector("#compare-empty .empty")
    assert not page.is_visible("#pane-2")
    ask(page, "Hello!")
    wait_for_answers(page, 1, 1)
    page.wait_for_selector("#pane-identity-1 .check.ok")


def test_both_panes_answer_markup_is_text_and_a_refresh_keeps_it(run_id: str, page: Any, services: Services) -> None:
    open_compare(page)
    identity = page.locator("#pane-identity-2", has_text=services.runs.get(run_id).adapter_hash)
    identity.filter(has_text="A <b>first</b> run").wait_for()
    ask(page, MARKUP)
    wait_for_answers(page, 1, 1, 2)
    assert page.inner_text("#chat-1 .user.message").strip() == MARKUP
    assert page.locator("#chat-1 .message img").count() == 0
    assert page.title() != "hit"
    page.wait_for_selector("#pane-identity-1 .check.ok")
    stats(page, 2, re.compile(r"\d+ tokens? · \d+ tokens/s"))

    first = answers(page, 1)[0]
    page.click("#chat-1 button[aria-label=Like]")  # every visitor may, and one press is one row for KTO
    page.get_by_text("Thumb up kept.").wait_for()
    (thumb,) = services.thumbs.all()
    assert (thumb.prompt, thumb.completion.strip(), thumb.liked, thumb.model) == (MARKUP, first.strip(), True, "base")
    page.click("#chat-1 button[aria-label=Liked]")
    page.get_by_text("Thumb taken back.").wait_for()
    assert services.thumbs.all() == ()

    ask(page, PROMPTS[1])
    wait_for_answers(page, 2, 1, 2)
    page.check("#diff-switch input")
    page.wait_for_selector("#pane-diff-2 .diff, #pane-diff-2 .quiet")
    before = answers(page, 1), answers(page, 2)
    page.reload()
    open_compare(page)
    wait_for_answers(page, 2, 1, 2)
    assert (answers(page, 1), answers(page, 2)) == before
    assert page.is_checked("#diff-switch input")

    page.click("#sampling button")
    seed = page.locator("#seed input")
    old_seed = seed.input_value()
    page.click("#retry")
    wait_until(lambda: seed.input_value() != old_seed)  # it comes with the lock, so what is unlocked after it is over
    wait_for_answers(page, 2, 1, 2)
    assert len(answers(page, 1)) == 2
    page.click("#clear")
    page.wait_for_function("document.querySelectorAll('.pane .bot.message').length == 0")


def test_stop_keeps_what_was_said(run_id: str, page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_slowly(monkeypatch, without_end=True)
    open_compare(page)
    page.click("#sampling button")
    page.fill("#sampling input[type=number] >> nth=2", "1024")
    page.press("#sampling input[type=number] >> nth=2", "Tab")
    ask(page, PROMPTS[0])
    spoken = "[...document.querySelectorAll('.pane .bot.message')].filter(said => said.innerText.trim()).length == 2"
    page.wait_for_function(spoken)
    page.click("#stop")
    for pane in (1, 2):
        stats(page, pane, "Stopped.")
    page.wait_for_selector("#send:not([disabled])")
    kept = answers(page, 1), answers(page, 2)
    assert all(len(said) == 1 and said[0].strip() for said in kept)
    page.reload()
    open_compare(page)
    wait_for_answers(page, 1, 1, 2)
    assert (answers(page, 1), answers(page, 2)) == kept


def test_visitors_see_only_their_own(run_id: str, studio_url: str, open_page: Callable[..., Any]) -> None:
    one, other = open_page(studio_url), open_page(studio_url)
    for page in (one, other):
        open_compare(page)
    ask(one, "The first visitor's secret?")
    ask(other, "Another question.")
    for page in (one, other):
        wait_for_answers(page, 1, 1, 2)
    assert "secret" not in other.inner_text("#panes")
    assert "Another" not in one.inner_text("#panes")
    other.reload()
    open_compare(other)
    wait_for_answers(other, 1, 1, 2)
    assert "secret" not in other.inner_text("#panes")


def test_panes_are_chosen_and_a_deleted_run_says_so(run_id: str, page: Any, services: Services) -> None:
    open_compare(page)
    open_tab(page, "Library")
    add_run(services.runs, "run-2", title="Second, with a name of several lines " * 3, seed=2, created=1.0)
    open_compare(page)  # the tab looks again: what was trained meanwhile is offered
    page.click("#pane-count label:has-text('3')")
    page.wait_for_selector("#pane-identity-3:has-text('Second')")
    tops = [page.locator(f"#chat-{number}").bounding_box()["y"] for number in (1, 2, 3)]
    assert max(tops) - min(tops) < 2, tops
    ask(page, PROMPTS[0])
    wait_for_answers(page, 1, 1, 2, 3)
    page.click("#pane-choice-2 input")
    page.get_by_role("option", name=re.compile("Second")).first.click()
    page.wait_for_selector("#pane-identity-2:has-text('Second')")
    page.wait_for_function("document.querySelectorAll('#chat-2 .message').length == 0")
    assert len(answers(page, 1)) == 1
    services.compare.release("run-2")
    services.runs.delete("run-2")
    page.reload()
    open_compare(page)
    page.wait_for_selector("#pane-identity-3:has-text('was deleted')")
    assert answers(page, 3)
    ask(page, "Still there?")
    wait_for_answers(page, 2, 1)
    stats(page, 3, "Not asked")
    assert len(answers(page, 3)) == 1


def test_a_pane_of_another_base_says_what_it_takes_and_answers(run_id: str, page: Any, services: Services) -> None:
    services.compare.warm_up()  # before that nobody asks how much memory is free
    make_base(services.settings.models_dir / "tiny")
    open_compare(page)
    page.click("#pane-choice-1 input")
    page.get_by_role("option", name="Base · tiny").first.click()
    page.wait_for_selector("#pane-identity-1:has-text('MB are free')")
    ask(page, PROMPTS[0])
    wait_for_answers(page, 1, 1, 2)
    page.wait_for_selector("#pane-identity-1:has-text('tiny') .check.ok")
    assert "MB are free" not in page.inner_text("#pane-identity-1")
    assert services.compare.base_check("embedded") is None  # no pane showed that one without its adapter


def test_until_something_is_chosen_the_newest_adapter_stands_in_its_pane_and_in_its_menu(
    run_id: str, page: Any, services: Services
) -> None:
    open_compare(page)
    menu = page.locator("#pane-choice-2 input")
    page.wait_for_function("document.querySelector('#pane-choice-2 input').value.startsWith('A <b>first</b> run')")
    open_tab(page, "Library")
    add_run(services.runs, "run-2", title="Newest", seed=2)
    open_compare(page)
    page.wait_for_selector("#pane-identity-2:has-text('Newest')")
    page.wait_for_function("document.querySelector('#pane-choice-2 input').value.startsWith('Newest')")
    menu.click()
    page.get_by_role("option", name=re.compile("first")).first.click()
    page.wait_for_selector("#pane-identity-2:has-text('A <b>first</b> run')")
    open_tab(page, "Library")
    add_run(services.runs, "run-3", title="Newer still", seed=3)
    open_compare(page)
    menu.click()  # what was chosen stays; the newest is offered
    page.get_by_role("option", name=re.compile("Newer still")).first.wait_for()
    assert "A <b>first</b> run" in page.inner_text("#pane-identity-2")


def test_the_library_opens_a_run_here_again_and_again(run_id: str, page: Any, services: Services) -> None:
    add_run(services.runs, "run-2", title="Newest", seed=2)
    open_compare(page)
    for _ in range(2):
        open_tab(page, "Library")
        page.locator("#library-table [role=gridcell]").filter(has_text="first", visible=True).first.click()
        page.wait_for_selector("#library-to-compare", state="visible")
        page.click("#library-to-compare")
        page.wait_for_selector("#pane-identity-2:has-text('first')")
        page.wait_for_function("document.querySelector('#pane-choice-2 input').value.includes('first')")
        page.click("#pane-count label:has-text('1')")
        page.wait_for_selector("#pane-2", state="hidden")


def test_all_test_prompts_and_both_downloads(run_id: str, page: Any, tmp_path: Path) -> None:
    open_compare(page)
    page.click("#table-start")
    page.wait_for_selector("#table-json:not([disabled])")
    page.wait_for_selector("#table-progress:has-text('3 of 3')")
    page.wait_for_selector("#prompt-table :text('Hello there!')")
    cells = page.locator("#prompt-table [role=gridcell]").filter(visible=True)
    assert cells.nth(1).inner_text().strip() == PROMPTS[0]
    page.locator("#prompt-table [role=columnheader][title=prompt]").filter(visible=True).first.hover()
    page.locator("#prompt-table .cell-menu-button").filter(visible=True).first.click()
    page.get_by_role("menuitem", name="Sort ascending").click()
    cells.nth(1).filter(has_text="Hello there!").wait_for()
    with page.expect_download() as download:
        page.click("#table-json")
    records = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert [r["prompt"] for r in records] == list(PROMPTS)
    assert set(records[0]) == {"id", "prompt", "response_from_original_model", "response_from_trained_model"}
    with page.expect_download() as download:
        page.click("#table-page")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert all(prompt in text for prompt in PROMPTS)
    assert 'class="words"' in text
    (tmp_path / "mine.txt").write_text("Only this one?\n", encoding="utf-8")
    give(page, "#table-file", tmp_path / "mine.txt")
    page.click("#table-start")
    page.wait_for_selector("#table-progress:has-text('1 of 1')")
    page.wait_for_selector("#table-csv:not([disabled])")
    page.reload()
    open_tab(page, "Compare")
    page.wait_for_selector("#table-progress:has-text('1 of 1')")
    page.locator("#prompt-table :text('Only this one?')").filter(visible=True).first.wait_for()
    with page.expect_download() as download:
        page.click("#table-json")
    assert json.loads(Path(download.value.path()).read_text(encoding="utf-8"))[0]["prompt"] == "Only this one?"


def test_a_cancelled_table_keeps_its_rows(run_id: str, page: Any, tmp_path: Path) -> None:
    open_compare(page)
    (tmp_path / "many.txt").write_text("\n".join(f"Question {i}?" for i in range(2_000)), encoding="utf-8")
    give(page, "#table-file", tmp_path / "many.txt")
    page.click("#table-start")
    page.locator("#prompt-table :text('Question 0?')").filter(visible=True).first.wait_for()
    page.click("#table-cancel")
    page.wait_for_selector("#table-start:not([disabled])")
    page.wait_for_selector("#table-csv:not([disabled])")
    page.wait_for_selector("#table-progress:has-text('Stopped.')")
    done = int(page.inner_text("#table-progress").split(" of ")[0])
    assert 0 < done < 2_000
    page.reload()
    open_tab(page, "Compare")
    page.wait_for_selector(f"#table-progress:has-text('{done} of 2000')")


def test_a_phone_scrolls_only_down_and_keeps_the_prompt_in_view(
    run_id: str, studio_url: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(studio_url, viewport={"width": 390, "height": 844})
    open_compare(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#prompt textarea").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 844
