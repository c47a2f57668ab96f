"""The voting page's HTTP API over a real server and a real store: what a browser may do, and what nobody may."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import gradio as gr
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from store_helpers import new_pairs

from studio.config import Settings
from studio.domain import Message
from studio.services import Services, build_services
from studio.services.rating import RatingService
from studio.ui.hub_login import account_of, login_offered
from studio.ui.launch import page_options
from studio.ui.rate_page import MAX_BODY, page, rate_routes, rendered
from studio.votes import NewPair, Origin

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Hall:
    """A running server and what a browser would send it."""

    def __init__(self, services: Services, url: str) -> None:
        self.services, self.url = services, url
        self.rating: RatingService = services.rating
        self.http = httpx.Client(base_url=url, timeout=30)

    def post(self, action: str, body: Any = None, **options: Any) -> httpx.Response:
        if not options.keys() & {"content", "json"}:
            options["json"] = {} if body is None else body
        headers = {"content-type": "application/json", **options.pop("headers", {})}
        return self.http.post(f"rate/api/{action}", headers=headers, **options)

    def ask(self, action: str, **body: Any) -> dict[str, Any]:
        answer = self.post(action, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def join(self, name: str = "Anna") -> str:
        return self.ask("register", name=name)["token"]

    def vote(self, token: str, pair: dict[str, Any], press: str = "left", seconds: float = 2.5) -> dict[str, Any]:
        body = {"token": token, "pair": pair["pair_id"], "proof": pair["token"], "press": press, "seconds": seconds}
        return self.ask("vote", **body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """The routes as ``launch()`` is given them, inside Gradio's own server; each test has a store of its own."""
    folder = tmp_path_factory.mktemp("hall")
    services = build_services(Settings(database_url=f"sqlite:///{folder / 'first.db'}", cache_dir=folder / "cache"))
    with gr.Blocks(analytics_enabled=False) as app:
        gr.Markdown("the studio")
    _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **page_options(services))
    yield Hall(services, url)
    app.close()
    services.rating.close()


@pytest.fixture
def hall(server: Hall, settings: Settings) -> Iterator[Hall]:
    server.services.rating = server.rating = RatingService(settings)
    yield server
    server.rating.close()


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert all(word in sentence for word in words), sentence
    assert len(sentence) < 300
    assert "Traceback" not in sentence


# ---- the page


def test_the_page_comes_from_this_server_alone_and_runs_its_own_script_only(hall: Hall) -> None:
    answer = hall.http.get("rate")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]+'", policy)
    assert "unsafe" not in policy
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers
    # relative addresses only: right behind any proxy's prefix
    assert not re.search(r"""(src|href)=["'](https?:|/)""", answer.text)
    assert "http://" not in answer.text
    assert "https://" not in answer.text


def test_the_page_has_its_files_put_in() -> None:
    html, _ = page()
    assert "/* rate_page." not in html
    assert "const KEYS" in html
    assert html.count("<script") == html.count("</script>") == 1


def test_gradios_own_page_is_still_there_and_a_trailing_slash_leads_back(hall: Hall) -> None:
    assert "gradio" in hall.http.get("").text
    answer = hall.http.get("rate/")
    assert answer.status_code == 308
    assert answer.headers["location"] == "../rate"


def test_behind_a_prefix_the_api_is_found_relative_to_the_page(hall: Hall) -> None:
    from starlette.routing import Mount
    from starlette.testclient import TestClient

    client = TestClient(Starlette(routes=[Mount("/space/studio", routes=rate_routes(hall.services))]))
    assert client.get("/space/studio/rate").status_code == 200
    assert client.post("/space/studio/rate/api/hello", json={}).status_code == 200
    assert str(client.get("/space/studio/rate/").url).endswith("/space/studio/rate")


# ---- voting


def test_a_rater_votes_through_all_pairs(hall: Hall) -> None:
    hall.rating.add_pairs(new_pairs(3))
    token = hall.join()
    first = hall.ask("next", token=token)
    assert first["open"] is True
    assert first["progress"] == {"own": 0, "own_total": 3, "pairs": 3, "decided": 0, "votes": 0, "raters": 0}
    assert hall.ask("next", token=token)["pair"] == first["pair"], "a refresh shows the same pair"
    seen, pair = [], first["pair"]
    while pair:
        seen.append(pair["pair_id"])
        answer = hall.vote(token, pair)
        assert answer["saved"] is True
        assert answer["reveal"] is None
        assert len(hall.rating.ballots().votes) == len(seen), "saved means stored"
        pair = answer["pair"]
    assert len(set(seen)) == 3
    assert answer["progress"]["own"] == 3
    assert {vote.seconds for vote in hall.rating.ballots().votes} == {2.5}


def test_a_pair_is_blind(hall: Hall) -> None:
    origin = Origin("adapter", "The secret adapter", run_id="run-77", adapter_hash="f00d", ratio=0.9)
    other = replace(origin, label="The other one", run_id="run-78", adapter_hash="beef")
    turns = (Message("user", "Earlier?"), Message("assistant", "Yes."))
    hall.rating.add_pairs([NewPair("Q", "yes", "no", origin, other, "import", history=turns, preferred="a")])
    answer = hall.ask("next", token=hall.join())
    assert answer["pair"].keys() == {"pair_id", "token", "prompt", "history", "left", "right", "choice"}
    assert answer["pair"]["history"] == [
        {"role": "user", "content": "Earlier?"},
        {"role": "assistant", "content": "Yes."},
    ]
    assert not any(word in json.dumps(answer) for word in ("secret", "run-77", "f00d", "preferred", "calibration"))


def test_names_are_told_after_the_vote_if_the_operator_says_so(hall: Hall) -> None:
    hall.rating.add_pairs(new_pairs(2))
    hall.rating.set_rules(replace(hall.rating.rules(), reveal=True))
    token = hall.join()
    pair = hall.ask("next", token=token)["pair"]
    first = hall.vote(token, pair, "right")
    base = "left" if pair["left"].startswith("yes") else "right"
    assert first["reveal"][base] == "Base model"
    assert hall.vote(token, first["pair"], "skip")["reveal"] is None, "a skip is no vote"


def test_undo_brings_the_pair_back_and_a_new_choice_replaces_the_old(hall: Hall) -> None:
    hall.rating.add_pairs(new_pairs(2))
    token = hall.join()
    pair = hall.ask("next", token=token)["pair"]
    hall.vote(token, pair, "left")
    back = hall.ask("undo", token=token)
    assert back["undone"] is True
    assert (back["pair"]["pair_id"], back["pair"]["left"]) == (pair["pair_id"], pair["left"])
    assert back["pair"]["choice"] == "left", "the page marks what was taken back"
    assert hall.rating.ballots().votes == ()
    hall.vote(token, back["pair"], "both_bad")
    assert [vote.choice for vote in hall.rating.ballots().votes] == ["both_bad"]


def test_nothing_to_undo_is_no_error(hall: Hall) -> None:
    hall.rating.add_pairs(new_pairs(1))
    token = hall.join()
    answer = hall.ask("undo", token=token)
    assert answer["undone"] is False
    assert answer["pair"], "the pair on screen stays"


def test_the_same_vote_sent_twice_counts_once(hall: Hall) -> None:
    hall.rating.add_pairs(new_pairs(2))
    token = hall.join()
    pair = hall.ask("next", token=token)["pair"]
    for _ in range(3):
        assert hall.vote(token, pair, "tie")["saved"] is True
    assert len(hall.rating.ballots().votes) == 1


def test_closed_voting_says_so_and_takes_no_vote(hall: Hall) -> None:
    hall.rating.add_pairs(new_pairs(1))
    token = hall.join()
    pair = hall.ask("next", token=token)["pair"]
    hall.rating.set_rules(replace(hall.rating.rules(), open=False))
    body = {"token": token, "pair": pair["pair_id"], "proof": pair["token"], "press": "left", "seconds": 1}
    refused(hall.post("vote", body), 409, "closed")
    answer = hall.ask("next", token=token)
    assert (answer["open"], answer["pair"]) == (False, None)
    assert hall.rating.ballots().votes == ()


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


def test_a_defect_is_logged_and_not_told(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(RatingService):
        def rules(self) -> Any:
            raise RuntimeError("the secret of the house")

    hall.services.rating = Broken(hall.services.settings)
    answer = hall.post("hello")
    refused(answer, 500, "log")
    assert "secret" not in answer.text
    assert "the secret of the house" in caplog.text


# ---- guidelines


def test_guidelines_are_rendered_and_harmless(hall: Hall) -> None:
    text = f"# Rules\n\n1. **Helpful**\n\n{SCRIPT}\n\n[a](javascript:alert(1)) [b](https://example.org) ![p](https://example.org/x.png)"
    hall.rating.set_rules(replace(hall.rating.rules(), guidelines=text))
    html = hall.ask("hello")["rules"]["guidelines_html"]
    assert "<strong>Helpful</strong>" in html
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    assert 'href="javascript' not in html
    assert '<a href="https://example.org" target="_blank" rel="noopener noreferrer">b</a>' in html


def test_empty_guidelines_are_nothing() -> None:
    assert rendered("") == ""


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

    with ThreadPoolExecutor(1) as pool:  # the browser tests may have left this thread an event loop
        first, second = pool.submit(asyncio.run, twice()).result()
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
