"""What every request passes first: hosts, origins, sizes; what every answer forbids; the operator's cookie. A real server."""

from __future__ import annotations

import dataclasses
import json
import os
import uuid
from collections.abc import Iterator
from typing import Any

import gradio as gr
import httpx
import pytest

from studio.config import Settings
from studio.services import build_services
from studio.ui.launch import page_options
from studio.ui.page.access import Visitor, address_of, new_visitor, require_operator
from studio.ui.page.door import MAX_BODY, MAX_PARTS, known_names, name_of
from studio.ui.page.guard import guarded
from tests.helpers.pages import served

PASSWORD = "a password of the operator"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("door")
    settings = Settings(
        database_url=f"sqlite:///{folder / 'studio.db'}",
        cache_dir=folder / "cache",
        admin_password=PASSWORD,
        allowed_hosts="studio.example.org, *.lab.example",
        max_upload_mb=1,
    )
    services = build_services(settings)

    def act(mark: Visitor, text: str) -> str:
        require_operator(mark, "training")
        return text.upper()

    def stream(mark: Visitor) -> Iterator[str]:
        yield "begun"
        require_operator(mark, "training")
        yield "done"

    def where(mark: Visitor, request: gr.Request) -> str:
        return address_of(request)

    with gr.Blocks(analytics_enabled=False) as app:
        visitor = gr.State(new_visitor(services.gate))
        box = gr.Textbox()
        gr.Button(elem_id="act").click(guarded(act), [visitor, box], box)
        gr.Button(elem_id="stream").click(guarded(stream), visitor, box)
        gr.Button(elem_id="where").click(where, visitor, box)
    with served(app, services) as url:
        yield url


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=60) as client:
        yield client


def event(http: httpx.Client, fn: int, *values: Any, session: str = "") -> dict[str, Any]:
    """The outcome of an event."""
    session = session or uuid.uuid4().hex
    body = {"fn_index": fn, "data": [None, *values], "session_hash": session}
    http.post("gradio_api/queue/join", json=body).raise_for_status()
    with http.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as answer:
        for line in answer.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                return dict(message["output"])
    raise AssertionError("no answer")


# -- who asks -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:7860", "127.0.0.1", "[::1]:80", "studio.example.org", "a.lab.example:443"]
)
def test_names_of_this_server_are_answered(http: httpx.Client, host: str) -> None:
    assert http.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "lab.example",
        "192.168.1.5",
        "studio.example.org.evil",
        "localhost.evil",
    ],
)
@pytest.mark.parametrize("path", ["/", "/config", "/rate", "/rate/api/hello", "/results", "/gradio_api/info"])
def test_a_name_that_is_not_this_servers_is_refused_everywhere(http: httpx.Client, host: str, path: str) -> None:
    answer = http.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "STUDIO_ALLOWED_HOSTS" in answer.json()["detail"]


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["gradio_api/queue/join", "gradio_api/upload", "operator/unlock", "rate/api/register"])
def test_what_another_sites_page_sends_is_refused(http: httpx.Client, path: str, headers: dict[str, str]) -> None:
    files = {"files": ("a.txt", b"x")}
    answer = http.post(path, files=files, headers=headers)
    assert answer.status_code == 403
    assert "another site's page" in answer.json()["detail"]


def test_the_studios_own_page_programs_and_allowed_sites_may_send(http: httpx.Client, server: str) -> None:
    for headers in ({}, {"Origin": server.rstrip("/")}, {"Origin": "https://studio.example.org"}):
        assert http.post("gradio_api/upload", files={"files": ("a.txt", b"x")}, headers=headers).status_code == 200


def test_names_follow_what_the_server_is_bound_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_HOST", "Me-Studio.hf.space")
    assert "me-studio.hf.space" in known_names(Settings())
    assert "10.0.0.7" in known_names(Settings(host="10.0.0.7"))
    assert "*.gradio.live" in known_names(Settings(share=True))
    assert "" not in known_names(Settings(host="0.0.0.0"))
    assert [name_of(host) for host in ("[::1]:80", "A.b:1", "a.b.")] == ["::1", "a.b", "a.b"]


# -- how much -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [(b'{"data": ["' + b"a" * MAX_BODY + b'"]}', "larger than 16 MB"), (b"[" * (MAX_PARTS + 1), "commas and brackets")],
    ids=["large", "many parts"],
)
def test_a_body_is_bounded_before_it_is_parsed(http: httpx.Client, body: bytes, words: str) -> None:
    answer = http.post("gradio_api/queue/join", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert words in answer.json()["detail"]


def test_an_upload_is_bounded_with_all_its_files(http: httpx.Client) -> None:
    files = [("files", (f"{n}.bin", b"x" * 900_000)) for n in range(4)]
    answer = http.post("gradio_api/upload", files=files)
    assert answer.status_code == 413, answer.text
    assert "STUDIO_MAX_UPLOAD_MB" in answer.json()["detail"]
    assert http.post("gradio_api/upload", files=files[:1]).status_code == 200


# -- what answers forbid ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/config", "/rate", "/results", "/theme.css", "/nothing-here"])
def test_every_answer_has_a_policy_without_a_foreign_source(http: httpx.Client, path: str) -> None:
    headers = http.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src" in policy
    loads = [part for part in policy.split(";") if "frame-ancestors" not in part]
    assert "http" not in "".join(loads)
    assert headers["x-content-type-options"] == "nosniff"


def test_an_uploaded_page_runs_nothing(http: httpx.Client) -> None:
    path = http.post("gradio_api/upload", files={"files": ("a.html", b"<script>1</script>")}).json()[0]
    answer = http.get(f"gradio_api/file={path}")
    assert answer.status_code == 200
    assert "sandbox" in answer.headers["content-security-policy"]


# -- the operator -------------------------------------------------------------------------------------------------------------


def test_the_cookie_makes_a_browser_the_operators_until_it_is_locked(server: str) -> None:
    session = uuid.uuid4().hex
    with httpx.Client(base_url=server, timeout=60) as browser, httpx.Client(base_url=server, timeout=60) as stranger:
        assert "operator's password" in event(browser, 0, "hi", session=session)["error"]
        assert browser.post("operator/unlock", json={"password": "guess"}).status_code == 403
        answer = browser.post("operator/unlock", json={"password": PASSWORD})
        assert answer.status_code == 200
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "max-age" not in cookie
        assert "expires" not in cookie
        assert event(browser, 0, "hi", session=session)["data"] == ["HI"]
        assert event(browser, 1)["data"] == ["done"], "asked in a generator's second step"
        assert "operator's password" in event(stranger, 0, "hi", session=session)["error"], (
            "the session's hash opens nothing"
        )
        kept = dict(browser.cookies)
        assert browser.post("operator/lock").status_code == 200
        assert not browser.cookies
        stranger.cookies.update(kept)
        assert "operator's password" in event(stranger, 0, "hi")["error"], "a locked secret stays locked"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'"x"', b"[" * 5000])
def test_an_odd_body_unlocks_nothing(http: httpx.Client, body: bytes) -> None:
    answer = http.post("operator/unlock", content=body)
    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers


def test_forwarded_addresses_are_believed_of_trusted_proxies_only(
    http: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.headers["X-Forwarded-For"] = "203.0.113.9"
    assert event(http, 2)["data"] == ["127.0.0.1"]
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    for proxies in ("", "10.0.0.1, 10.1.0.0/16"):
        page_options(build_services(dataclasses.replace(settings, trusted_proxies=proxies)))
        assert os.environ["FORWARDED_ALLOW_IPS"] == proxies


def test_the_page_is_the_same_packed_and_plain(http: httpx.Client) -> None:
    first = http.get("/", headers={"Accept-Encoding": "identity"})
    packed = http.get("/", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in first.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert first.text == packed.text == http.get("/?__theme=dark").text
    other = http.get("/", headers={"Host": "studio.example.org"})
    assert "studio.example.org" in other.text
    assert "studio.example.org" not in first.text
    assert http.head("/").status_code == 200


def test_visitors_upload_so_much_within_an_hour_and_the_operator_as_much_as_needed(server: str) -> None:
    """Stands last: it uses up what this address may send."""
    file = {"files": ("a.bin", b"x" * 900_000)}
    with httpx.Client(base_url=server, timeout=60) as browser:
        answers = [browser.post("gradio_api/upload", files=file) for _ in range(60)]
        refused = [answer for answer in answers if answer.status_code == 413]
        assert answers[0].status_code == 200
        assert "Visitors may upload" in refused[0].text
        assert browser.post("operator/unlock", json={"password": PASSWORD}).status_code == 200
        assert browser.post("gradio_api/upload", files=file).status_code == 200
