"""The voting page and its API: voting, guidelines."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from starlette.applications import Starlette

from studio.domain.data import Message
from studio.domain.votes import NewPair, Origin
from studio.ui.parts.plain_page import text_and_headers
from studio.ui.rating.voting_page import PAGE, rate_routes, rendered
from tests.helpers.pairs import new_pairs
from tests.helpers.voting_server import SCRIPT, Hall, refused

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
    html, _ = text_and_headers(PAGE)
    assert "/* voting." not in html
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


# ---- guidelines


def test_single_answers_get_thumbs_once_voting_is_closed(hall: Hall) -> None:
    hall.rating.add_pairs(new_pairs(1))
    token = hall.join()
    hall.vote(token, hall.ask("next", token=token)["pair"])
    hall.rating.set_rules(replace(hall.rating.rules(), open=False))
    (listed,) = hall.ask("next", token=token)["result"]["pairs"]
    assert [said["answer"] for said in listed["answers"]] == ["1", "2"]
    (pair,) = hall.rating.ballots().pairs
    said = {"token": token, "pair": pair.id, "answer": "2"}
    assert hall.ask("thumb", **said, liked=True) == {"saved": True}
    (thumb,) = hall.services.thumbs.all()
    assert (thumb.completion, thumb.liked) == (pair.answer_2, True)
    hall.ask("thumb", **said, liked=None)
    assert hall.services.thumbs.all() == ()
    refused(hall.post("thumb", {**said, "answer": "3", "liked": True}), 422, "it must be 1 or 2")
    refused(hall.post("thumb", {**said, "liked": "yes"}), 422, "liked must be")
    refused(hall.post("thumb", {**said, "pair": "x", "liked": True}), 404, "no such pair")


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
