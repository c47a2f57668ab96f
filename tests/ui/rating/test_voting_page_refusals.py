"""What the voting page's API refuses, and who a Hugging Face account is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from studio.domain.votes import NewPair, Origin
from studio.errors import StoreError
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import RatingService
from studio.ui.rating.hub_login import account_of, login_offered
from studio.ui.rating.json_answers import MAX_BODY
from studio.ui.rating.voting_page import Registrations, rate_routes
from tests.helpers.pairs import new_pairs
from tests.helpers.voting_server import SCRIPT, Hall, refused
from tests.helpers.waiting import run_async

# ---- what nobody may


def test_a_forged_token_votes_for_nobody(hall: Hall) -> None:
    hall.rating.add_pairs(new_pairs(2))
    anna, ben = hall.join("Anna"), hall.join("Ben")
    pair = hall.ask("next", token=anna)["pair"]
    anna_id = anna.split(".")[0]
    vote = {"pair": pair["pair_id"], "proof": pair["token"], "press": "left", "seconds": 1}
    for forged in (anna_id, f"{anna_id}.", f"{anna_id}.{ben.split('.')[1]}", "'; DROP TABLE votes; --", "\u0000", ""):
        refused(hall.post("vote", {"token": forged, **vote}), 403, "not known")
    assert hall.rating.ballots().votes == ()


def test_a_pair_that_was_not_served_cannot_be_voted_on(hall: Hall) -> None:
    ids = hall.rating.add_pairs(new_pairs(2)).ids
    anna, ben = hall.join("Anna"), hall.join("Ben")
    mine = hall.ask("next", token=anna)["pair"]
    other = next(pair_id for pair_id in ids if pair_id != mine["pair_id"])
    body = {"press": "left", "seconds": 1}
    for token, pair_id, proof in (
        (anna, other, mine["token"]),
        (ben, mine["pair_id"], mine["token"]),
        (anna, "no-such-pair", mine["token"]),
        (anna, "x' OR '1'='1", mine["token"]),
        (anna, mine["pair_id"], ""),
        (anna, f"{mine['pair_id']}\u0000", mine["token"]),
    ):
        refused(hall.post("vote", {"token": token, "pair": pair_id, "proof": proof, **body}), 403, "not served to you")
    assert hall.rating.ballots().votes == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("press", "1"),
        ("press", "LEFT"),
        ("press", ["left"]),
        ("press", None),
        ("pair", 7),
        ("pair", {"id": 1}),
        ("proof", True),
        ("seconds", "2"),
        ("seconds", True),
        ("seconds", None),
        ("seconds", -1),
        ("seconds", float("nan")),
        ("seconds", float("inf")),
        ("seconds", 10**400),
        ("token", 5),
        ("token", "\ud800"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(hall: Hall, field: str, value: Any) -> None:
    hall.rating.add_pairs(new_pairs(1))
    token = hall.join()
    pair = hall.ask("next", token=token)["pair"]
    body = {
        "token": token,
        "pair": pair["pair_id"],
        "proof": pair["token"],
        "press": "left",
        "seconds": 1,
        field: value,
    }
    refused(hall.post("vote", content=json.dumps(body)), 422, field)
    del body[field]
    refused(hall.post("vote", body), 422, field)
    assert hall.rating.ballots().votes == ()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b'{"name": "\xff\xfe"}', 400),
        (b"[" * 60_000, 400),
        (b'{"name": ' + b"9" * 5_000 + b"}", 400),
        (b'{"name": "' + b"x" * 1_000_000 + b'"}', 413),
        (b"x" * (MAX_BODY + 1), 413),
    ],
)
def test_a_body_that_is_no_small_json_object_is_refused(hall: Hall, content: bytes, status: int) -> None:
    refused(hall.post("register", content=content), status, "body")


@pytest.mark.parametrize("name", ["", "   ", "\u0000", "\u202e\u200f", "x" * 61, 5, None, "\ud800"])
def test_a_name_that_shows_nothing_or_is_too_long_is_refused(hall: Hall, name: Any) -> None:
    refused(hall.post("register", content=json.dumps({"name": name})), 422, "name")


@pytest.mark.parametrize("name", [SCRIPT[:60], "Robert'); DROP TABLE raters;--", "שרה", "Zoë 🦊", "=1+1"])
def test_any_other_name_is_kept_as_text(hall: Hall, name: str) -> None:
    hall.join(name)
    assert [rater.name for rater in hall.rating.ballots().raters] == [name]


def test_hostile_texts_travel_as_data(hall: Hall) -> None:
    origin = Origin("import", SCRIPT)
    texts = (f"{SCRIPT} \u202eeverything turned", "\u2067rtl\u2069 </script>", 'quote " \\ \u2028 end')
    hall.rating.add_pairs([NewPair(*texts, origin, replace(origin, label="b"), "import")])
    answer = hall.post("next", {"token": hall.join()})
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    pair = answer.json()["pair"]
    assert {pair["prompt"], pair["left"], pair["right"]} == set(texts)


def test_another_sites_page_is_turned_away(hall: Hall) -> None:
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        assert hall.post("hello", headers={"sec-fetch-site": site}).status_code == status
    refused(hall.post("register", content=b"name=x", headers={"content-type": "text/plain"}), 415, "JSON")
    assert hall.http.get("rate/api/next").status_code == 405


def test_a_store_that_fails_pauses_the_vote_and_its_place_is_not_told(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    class Gone(RatingService):
        def rules(self) -> Any:
            raise StoreError("The store at db.internal:5432/votes cannot be used: gone.")

    hall.services.rooms = RoomService(Gone(hall.services.settings))
    answer = hall.post("hello")
    refused(answer, 503, "Voting pauses for a moment")
    assert "db.internal" not in answer.text
    assert "db.internal" in caplog.text


def test_a_hall_registers_at_once_and_a_script_is_slowed() -> None:
    now = [0.0]
    pace = Registrations(lambda: now[0])
    delays = [pace.delay("one hall") for _ in range(1300)]
    assert max(delays[:1000]) == 0
    assert 55 < delays[-1] < 65
    assert pace.delay("another hall") == 0
    now[0] += 300
    assert pace.delay("one hall") == 0


def test_a_defect_is_logged_and_not_told(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(RatingService):
        def rules(self) -> Any:
            raise RuntimeError("the secret of the house")

    hall.services.rooms = RoomService(Broken(hall.services.settings))
    answer = hall.post("hello")
    refused(answer, 500, "log")
    assert "secret" not in answer.text
    assert "the secret of the house" in caplog.text


# ---- Hugging Face


def signed_in(**info: Any) -> Request:
    return Request({"type": "http", "headers": [], "session": {"oauth_info": info}})


def test_a_hugging_face_account_is_the_rater(hall: Hall) -> None:
    """As on a Space: Gradio's login leaves the account in the session, whatever name the page sends."""

    async def as_account(scope: Any, receive: Any, send: Any) -> None:
        scope["session"] = {"oauth_info": {"userinfo": {"sub": "42", "preferred_username": "octocat"}}}
        await routes(scope, receive, send)

    routes = Starlette(routes=rate_routes(hall.services))

    async def twice() -> list[Any]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(as_account), base_url="http://hall") as client:
            return [(await client.post("/rate/api/register", json={"name": "Mallory"})).json() for _ in range(2)]

    first, second = run_async(twice())
    assert first["name"] == "octocat"
    assert hall.rating.rater(first["token"]) == hall.rating.rater(second["token"])
    assert hall.rating.rater(first["token"]).verified is True
    assert "42" not in first["token"].split(".")[0].split("-")


@pytest.mark.parametrize(
    "request_",
    [
        Request({"type": "http", "headers": []}),
        signed_in(),
        signed_in(userinfo={}),
        signed_in(userinfo="text"),
        signed_in(userinfo={"sub": "42"}, expires_at=1.0),
    ],
)
def test_no_login_or_one_that_ran_out_is_no_account(request_: Request) -> None:
    assert account_of(request_) is None


def test_login_is_offered_on_a_space_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert login_offered() is False


def test_routes_are_plain() -> None:
    assert all(isinstance(route, Route) for route in rate_routes(None))  # type: ignore[arg-type]
