"""Voting in a real browser: the page alone as a phone opens it, and the Rate tab beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette

from studio.domain.votes import NewPair, Vote
from studio.services import Services
from studio.ui.rating.voting_page import rate_routes
from tests.helpers.pages import open_tab
from tests.helpers.pairs import ADAPTER_ORIGIN, BASE_ORIGIN, new_pairs
from tests.helpers.waiting import wait_until

TABS = ("Rate",)
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def page_url(services: Services) -> Iterator[str]:
    """The voting page with nothing around it: the routes the studio serves, on a small server."""
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=rate_routes(services)), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/rate"
    server.should_exit = True
    thread.join(10)


def join(page: Any, name: str = "Anna") -> None:
    page.fill("#name", name)
    page.click("#join button")
    page.wait_for_selector("#pair:visible")


def press(page: Any, key: str) -> None:
    """A key, once the page takes it."""
    settle(page)
    page.keyboard.press(key)


def settle(page: Any) -> None:
    """The page waits for the server's answer, and then lets a new pair settle before it takes a vote."""
    page.wait_for_selector("[data-act=left][aria-disabled=false]")
    page.wait_for_timeout(350)


def says(page: Any, text: str) -> None:
    page.get_by_text(text).first.wait_for()


def votes(services: Services) -> list[Vote]:
    return list(services.rating.ballots().votes)


def test_vote_with_keys_undo_and_refresh(services: Services, page_url: str, open_page: Callable[..., Any]) -> None:
    services.rating.add_pairs(new_pairs(7))
    page = open_page(page_url)
    page.fill("#name", "1234 u 0")
    assert page.input_value("#name") == "1234 u 0", "keys are letters in an input"
    page.click("#join button")
    page.wait_for_selector("#pair:visible")
    assert [rater.name for rater in services.rating.ballots().raters] == ["1234 u 0"]
    assert votes(services) == []

    chosen = page.inner_text("#left")
    press(page, "1")
    says(page, "✓ Saved: A.")
    first = votes(services)[0]
    pair = next(pair for pair in services.rating.ballots().pairs if pair.id == first.pair_id)
    assert chosen == (pair.answer_1 if first.choice == "1" else pair.answer_2), "A is what stood on the left"
    assert 0 < first.seconds < 120
    for key, word, choice in (("3", "tie", "tie"), ("4", "both bad", "both_bad"), ("0", "skipped", "skip")):
        press(page, key)
        says(page, f"✓ Saved: {word}.")
        assert choice in {vote.choice for vote in votes(services)}
    says(page, "You: 4 of 7")

    for combination in ("Control+1", "Alt+2", "Shift+3"):
        press(page, combination)
    shown = page.inner_text("#prompt")
    press(page, "2")
    says(page, "You: 5 of 7")
    assert len(votes(services)) == 5, "keys with a modifier are the browser's"
    press(page, "u")
    says(page, "Taken back.")
    assert page.inner_text("#prompt") == shown
    assert len(votes(services)) == 4

    page.reload()
    page.wait_for_selector("#pair:visible")
    assert page.inner_text("#prompt") == shown, "a refresh shows the pair that waits, and asks for no name again"
    for count in (5, 6, 7):
        press(page, "1")
        wait_until(lambda count=count: len(votes(services)) == count)
    says(page, "All done, thank you!")
    assert len(votes(services)) == 7
    services.rating.add_pairs(new_pairs(1, "later"))
    says(page, "later 0")


def test_names_are_told_after_the_vote_and_hostile_text_stays_text(
    services: Services, page_url: str, open_page: Callable[..., Any]
) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror='alert(2)'>"
    evil = replace(ADAPTER_ORIGIN, label="<b>Evil</b> \u202emark")
    services.rating.add_pairs([NewPair(hostile, f"{hostile} a", "\u202eb b b", BASE_ORIGIN, evil, "import")])
    services.rating.set_rules(replace(services.rating.rules(), reveal=True, guidelines=f"**Choose well** {hostile}"))
    page = open_page(page_url)
    alarms: list[str] = []
    page.on("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: alarms.append(message.text) if message.type == "error" else None)
    says(page, "Choose well")
    join(page, hostile[:60])
    assert page.inner_text("#prompt") == hostile
    assert page.locator("#pair img, #pair script").count() == 0
    assert page.get_by_text("Base model").count() == 0
    press(page, "2")
    says(page, "✓ Saved")
    assert {text.strip() for text in page.locator("#said bdi").all_inner_texts()} == {"Base model", evil.label}
    assert alarms == []


def test_a_vote_that_did_not_arrive_is_kept_and_sent_once(
    services: Services, page_url: str, open_page: Callable[..., Any]
) -> None:
    services.rating.add_pairs(new_pairs(2))
    page = open_page(page_url)
    join(page)
    shown = page.inner_text("#prompt")
    page.context.set_offline(True)
    press(page, "1")
    says(page, "Not saved: the studio cannot be reached. Your choice (A) is kept.")
    assert page.get_by_text("✓ Saved").count() == 0
    assert page.inner_text("#prompt") == shown
    press(page, "3")
    says(page, "Your choice (tie) is kept.")
    page.context.set_offline(False)
    says(page, "✓ Saved: tie.")
    assert [vote.choice for vote in votes(services)] == ["tie"]


def test_a_held_key_and_a_double_tap_vote_once(
    services: Services, page_url: str, open_page: Callable[..., Any]
) -> None:
    services.rating.add_pairs(new_pairs(4))
    page = open_page(page_url)
    join(page)
    press(page, "1")
    for _ in range(5):
        page.keyboard.press("1")
    says(page, "✓ Saved")
    press(page, "2")
    says(page, "You: 2 of 4")
    assert len(votes(services)) == 2


def test_a_phone_shows_both_answers_and_all_buttons(
    services: Services, page_url: str, open_page: Callable[..., Any]
) -> None:
    long = "A very long answer. " * 400
    services.rating.add_pairs(
        [NewPair("word" * 60, long, "unbrokenword" * 100, BASE_ORIGIN, ADAPTER_ORIGIN, "batch"), *new_pairs(1)]
    )
    page = open_page(page_url, **PHONE)
    join(page)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        boxes = [button.bounding_box() for button in page.locator("#buttons button").all()]
        assert len(boxes) == 6
        for box in boxes:
            assert box["height"] >= 44
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
            assert box["y"] > 422, "within the thumb's reach"
            assert box["y"] + box["height"] <= 844
        settle(page)
        page.tap("[data-act=right]")
        says(page, "✓ Saved: B.")
    left, right = page.locator("#left").bounding_box(), page.locator("#right").bounding_box()
    assert left is None or right is None or right["y"] > left["y"]


def test_closing_and_opening_the_vote_reaches_the_phones(
    services: Services, page_url: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(page_url)
    page.fill("#name", "Anna")
    page.click("#join button")
    says(page, "Nothing to rate yet")
    services.rating.add_pairs(new_pairs(2))
    page.wait_for_selector("#pair:visible")
    services.rating.set_rules(replace(services.rating.rules(), open=False))
    press(page, "1")
    says(page, "Voting is closed")
    assert votes(services) == []
    services.rating.set_rules(replace(services.rating.rules(), open=True))
    page.wait_for_selector("#pair:visible")


def test_a_rater_the_store_does_not_know_is_asked_for_a_name_again(
    services: Services, page_url: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(page_url)
    page.evaluate("localStorage.setItem('/rate:rater', 'someone.forged')")
    page.reload()
    says(page, "This rater is not known here")
    services.rating.add_pairs(new_pairs(1))
    join(page)


@pytest.mark.timeout(600)  # two browsers and the whole studio: minutes where other work has the cores
def test_the_presenters_tally_moves_while_somebody_votes(
    services: Services, studio_url: str, open_page: Callable[..., Any]
) -> None:
    services.rating.add_pairs(new_pairs(3))
    presenter = open_page(studio_url)
    presenter.set_default_timeout(180_000)
    open_tab(presenter, "Rate")
    tally = presenter.locator("#rate-tally")
    tally.get_by_text("voting is open").wait_for()
    assert "0\nvotes" in tally.inner_text()
    link = presenter.locator('#rate-code a[href$="/rate"]').get_attribute("href")
    assert link == f"{studio_url}rate"
    says(presenter, "Phones cannot reach this address")
    presenter.frame_locator("iframe").locator("#join").wait_for()

    rater = open_page(link, **PHONE)
    join(rater)
    for done in (1, 2):
        settle(rater)
        rater.tap("[data-act=left]")
        wait_until(lambda done=done: len(votes(services)) == done, 120)
        word = "vote" if done == 1 else "votes"
        wait_until(lambda done=done, word=word: f"{done}\n{word}" in tally.inner_text(), 120)
    assert "Base model" not in tally.inner_text()
    presenter.get_by_label("Show who leads").check()
    tally.get_by_text("Base model").wait_for()

    field = presenter.locator("#rate-address textarea, #rate-address input").first
    field.fill("https://vote.example/rate")
    field.press("Enter")
    presenter.locator("#rate-code a[href='https://vote.example/rate']").wait_for()
    assert presenter.get_by_text("Phones cannot reach this address").count() == 0
    presenter.reload()
    open_tab(presenter, "Rate")
    presenter.locator("#rate-code a[href='https://vote.example/rate']").wait_for()
    field.fill("")
    field.press("Enter")
    presenter.get_by_text("Phones cannot reach this address").wait_for()


def test_the_pages_theme_goes_before_the_systems(page_url: str, open_page: Callable[..., Any]) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    dark = open_page(f"{page_url}?__theme=dark", color_scheme="light")
    light = open_page(f"{page_url}?__theme=light", color_scheme="dark")
    plain = open_page(page_url, color_scheme="dark")
    assert dark.evaluate(ground) == plain.evaluate(ground) != light.evaluate(ground)


def test_what_was_chosen_in_the_studio_goes_before_the_systems_theme(
    page_url: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(page_url, color_scheme="dark")
    page.evaluate("localStorage.setItem('alignment-studio-theme', 'light')")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


@pytest.mark.parametrize("width", [390, 1100])
def test_the_two_answers_buttons_stand_side_by_side(
    services: Services, page_url: str, open_page: Callable[..., Any], width: int
) -> None:
    services.rating.add_pairs(new_pairs(1))
    page = open_page(page_url, viewport={"width": width, "height": 700})
    join(page)
    left, right, tie = (page.locator(f"[data-act={act}]").bounding_box() for act in ("left", "right", "tie"))
    assert left["y"] == right["y"]
    assert right["x"] > left["x"] + left["width"]
    assert left["width"] > tie["width"]


def test_the_studios_frame_has_no_second_language_switch(page_url: str, open_page: Callable[..., Any]) -> None:
    open_page(page_url).locator("[data-language]").wait_for()
    embedded = open_page(f"{page_url}?embed=1")
    embedded.locator("#name").wait_for()
    assert embedded.locator("[data-language]").is_hidden()


def test_the_clock_starts_when_the_pair_is_seen(
    services: Services, page_url: str, open_page: Callable[..., Any]
) -> None:
    services.rating.add_pairs(new_pairs(1))
    page = open_page(page_url)
    before = time.monotonic()
    join(page)
    shown = time.monotonic()
    page.wait_for_timeout(1500)
    least = time.monotonic() - shown
    page.click("[data-act=left]")
    says(page, "✓ Saved")
    most = time.monotonic() - before
    assert 1 < least - 0.01 <= votes(services)[0].seconds <= most + 0.01
