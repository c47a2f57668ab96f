"""Two rooms side by side in a real browser: made, moved between and deleted on the Rate tab, voted in by two phones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from studio.services import Services
from studio.services.rating.service import RatingService
from studio.ui.rating.tab import build_rate_tab
from tests.helpers.pages import expand, section_page
from tests.helpers.pairs import new_pairs
from tests.helpers.waiting import wait_until

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
pytestmark = pytest.mark.timeout(900)  # three pages on a machine with other work


def make_room(page: Any, name: str) -> str:
    """A new room, which is open then; its code."""
    page.fill("#rate-room-name input, #rate-room-name textarea", name)
    page.click("#rate-room-make")
    wait_until(lambda: page.locator("#rate-room input").input_value().startswith(name), 120)
    code = page.locator("#rate-room input").input_value().rsplit("(", 1)[1].rstrip(")")
    page.locator(f"#rate-code a[href$='rate?room={code}']").wait_for()
    return code


def go_to(page: Any, name: str) -> None:
    page.click("#rate-room input")
    page.get_by_role("option", name=name).click()


def vote_once(page: Any, act: str = "left") -> None:
    page.wait_for_selector("#pair:visible")
    page.wait_for_selector(f"[data-act={act}][aria-disabled=false]")
    page.wait_for_timeout(350)  # the page lets a new pair settle before it takes a vote
    page.tap(f"[data-act={act}]")
    page.get_by_text("✓ Saved").wait_for()


def tally_says(page: Any, votes: int) -> None:
    word = "vote" if votes == 1 else "votes"
    wait_until(lambda: f"{votes}\n{word}" in page.locator("#rate-tally").inner_text(), 120)


def test_two_rooms_are_voted_in_side_by_side(services: Services, open_page: Callable[..., Any]) -> None:
    services.rating.add_pairs(new_pairs(2))
    with section_page(services, {"Rate": build_rate_tab}) as url:
        page = open_page(url)
        page.locator("#rate-tally").get_by_text("voting is open").wait_for()
        assert page.locator("#rate-room").count() == 0, "who makes no rooms sees none"
        for box in ("#rate-rooms", "#rate-rules"):
            expand(page, box)
        codes = [make_room(page, name) for name in ("Blue", "Green")]
        blue, green = (services.rooms.rating(code) for code in codes)
        for room, pairs in ((blue, 3), (green, 4)):
            room.add_pairs(new_pairs(pairs))
        green.set_rules(type(green.rules())("Be quick.", min_votes=1, ties=False, reasons=False))

        phones = [open_page(f"{url}rate?room={code.lower()}", **PHONE) for code in codes]
        for phone, name in zip(phones, ("Blue", "Green"), strict=True):
            phone.get_by_text(name, exact=True).wait_for()
            phone.fill("#name", "Anna")
            phone.click("#join button")
        vote_once(phones[0], "tie")
        phones[1].wait_for_selector("#pair:visible")
        assert not phones[1].locator("[data-act=tie]").is_visible()
        assert not phones[1].locator("#reasons").is_visible()
        vote_once(phones[1])
        vote_once(phones[1], "right")
        wait_until(lambda: counted(services.rating, blue, green) == [0, 1, 2], 60)

        tally_says(page, 2)
        assert page.frame_locator("iframe.rate-frame").locator("body").count()
        assert f"room={codes[1]}" in page.locator("iframe.rate-frame").get_attribute("src")
        go_to(page, f"Blue ({codes[0]})")
        tally_says(page, 1)
        wait_until(lambda: page.locator("#rate-min-votes input").input_value() == "3", 120)
        go_to(page, f"Green ({codes[1]})")
        wait_until(lambda: page.locator("#rate-min-votes input").input_value() == "1", 120)
        go_to(page, "Main room")
        tally_says(page, 0)
        page.locator("#rate-code a[href$='/rate']").wait_for()

        # the presenter of one room closes it by a countdown: the other goes on
        presenter = open_page(f"{url}present?room={codes[1]}")
        presenter.get_by_text(f"Green ({codes[1]})").wait_for()
        address = urlsplit(presenter.locator("#address").get_attribute("href"))
        assert parse_qs(address.query) == {"room": [codes[1]]}
        presenter.click("#start")
        wait_until(lambda: presenter.locator("#left").inner_text().startswith(("2:", "3:")), 60)
        vote_once(phones[1])
        phones[1].get_by_text("left", exact=False).first.wait_for()
        green.set_open(True, 1.0)  # its moment has come
        presenter.get_by_text("Voting is closed").wait_for()
        phones[1].reload()
        phones[1].get_by_text("Voting is closed").first.wait_for()
        vote_once(phones[0])
        wait_until(lambda: counted(services.rating, blue, green) == [0, 2, 3], 60)

        # the browser's rater of one room is nobody in the other, and no code is a sentence
        phones[0].goto(f"{url}rate?room={codes[1]}")
        phones[0].wait_for_selector("#join:visible")
        phones[0].goto(f"{url}rate?room=QQQQ")
        phones[0].get_by_text("There is no room 'QQQQ'").wait_for()

        go_to(page, f"Green ({codes[1]})")
        tally_says(page, 3)
        page.click("#rate-room-delete")
        page.click("#rate-room-sure")
        tally_says(page, 0)
        assert [room.name for room in services.rooms.list()] == ["Main room", "Blue"]
        assert counted(services.rating, blue) == [0, 2]


def counted(*rooms: RatingService) -> list[int]:
    return [len(room.ballots().votes) for room in rooms]
