"""The presenter's view: for the operator, the code and counts while voting is open, the result once it is closed."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from studio.ui.rating.outcome import MAX_TO_RATE
from studio.ui.rating.present_page import present_routes
from tests.helpers.pairs import new_pairs, press_until_done
from tests.helpers.services import opened, settings_in
from tests.helpers.voting_server import Hall, refused


def present(hall: Hall, action: str, **body: Any) -> dict[str, Any]:
    answer = hall.http.post(f"present/api/{action}", json={"address": f"{hall.url}rate", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_room_votes_and_sees_the_result_when_the_vote_is_closed(hall: Hall) -> None:
    assert "const MISSED_MS" in hall.http.get("present").text
    assert present(hall, "look")["progress"]["pairs"] == 0
    hall.rating.add_pairs(new_pairs(4))
    token = hall.join("Anna")
    pair = hall.ask("next", token=token)["pair"]
    why = {"token": token, "pair": pair["pair_id"], "proof": pair["token"], "seconds": 1, "reasons": ["style"]}
    assert hall.ask("vote", press="tie", **why)["saved"] is True
    for name in ("Ben", "Cäsar"):
        press_until_done(hall.rating, hall.rating.register(name)[0])
    seen = present(hall, "look")
    assert (seen["open"], seen["progress"]["votes"], seen["progress"]["raters"]) == (True, 9, 3)
    assert (seen["result"], seen["pairs"]) == (None, []), "who wrote what is not told while people vote"
    assert hall.ask("next", token=token)["result"] is None

    closed = present(hall, "close")
    assert hall.rating.rules().open is False
    assert [match["wins"] + match["even"] + match["losses"] for match in closed["result"]["matches"]] == [9]
    assert "95 % interval" in closed["result"]["ahead"][0]
    assert closed["result"]["reasons"] == "Reasons given with votes: style 1."
    assert {answer["model"] for one in closed["pairs"] for answer in one["answers"]} == {"Base model", "Adapter .9"}
    assert sum(answer["votes"] for one in closed["pairs"] for answer in one["answers"]) == 8
    told = hall.ask("next", token=token)["result"]
    assert told == {**closed["result"], "pairs": closed["pairs"][:MAX_TO_RATE]}, "raters see it too"
    page = hall.http.get(present(hall, "keep")["page"])
    assert page.status_code == 200
    assert closed["result"]["ahead"][0] in unescape(page.text)
    assert present(hall, "open")["result"] is None


def test_the_code_has_the_address_that_phones_can_use(hall: Hall) -> None:
    code = present(hall, "look", address="https://short.example/v", typed=True)["code"]
    assert (code["address"], code["only_here"]) == ("https://short.example/v", False)
    assert present(hall, "look")["code"]["only_here"] is True
    refused(hall.http.post("present/api/look", json={"address": "nonsense", "typed": True}), 422, "web address")
    refused(hall.http.post("present/api/look", json={}), 422, "address")


def test_the_page_is_the_operators(tmp_path_factory: Any) -> None:
    with opened(settings_in(tmp_path_factory.mktemp("locked"), admin_password="secret")) as services:
        client = TestClient(Starlette(routes=present_routes(services)))
        assert client.get("/present").status_code == 403
        for action in ("look", "close", "open", "keep"):
            refused(client.post(f"/present/api/{action}", json={"address": "http://x.example/rate"}), 403, "password")
        assert services.rating.rules().open is True


@pytest.mark.parametrize("size", [(1280, 720), (1024, 768), (1920, 1080)])
def test_nothing_is_scrolled_to_on_a_projector(hall: Hall, open_page: Any, size: tuple[int, int]) -> None:
    page = open_page(f"{hall.url}present", viewport={"width": size[0], "height": size[1]})
    page.locator("#only-here", has_text="Phones cannot reach this address").wait_for()
    page.locator("#code svg").wait_for()
    assert page.evaluate("document.documentElement.scrollHeight") <= size[1]
