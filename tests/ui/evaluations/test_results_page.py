"""``/results``: what is kept, for anybody with the link."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from studio.config import Settings
from studio.services import Services
from studio.ui.evaluations.report_page import report_routes
from tests.helpers.evaluations import make_evaluation, store_evaluation
from tests.helpers.services import opened


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(settings) as made:
        yield made


def test_only_kept_ones_have_a_page(services: Services, settings: Settings) -> None:
    store_evaluation(settings, make_evaluation("aa01", kept=True))
    store_evaluation(settings, make_evaluation("aa02"))
    client = TestClient(Starlette(routes=report_routes(services)))
    there = client.get("/results/aa01")
    assert there.status_code == 200
    assert "What was found" in there.text
    assert there.headers["content-security-policy"].startswith("default-src 'none'")
    for gone in ("aa02", "aa03", "AA01", "..%2F..%2Fetc", "a" * 100, "'%20or%201=1"):
        answer = client.get(f"/results/{gone}")
        assert answer.status_code == 404, gone
        assert "not kept" in answer.text or "Not Found" in answer.text
    listing = client.get("/results").text
    assert 'href="results/aa01"' in listing
    assert "aa02" not in listing
    services.evaluations.keep("aa01", False)
    assert client.get("/results/aa01").status_code == 404
    assert "Nothing is kept yet" in client.get("/results").text


def test_pages_have_the_theme_chosen_in_the_studio(
    services: Services, settings: Settings, open_page: Callable[..., Any]
) -> None:
    store_evaluation(settings, make_evaluation("aa01", kept=True))
    client = TestClient(Starlette(routes=report_routes(services)))

    def answer(route: Any) -> None:
        got = client.get(urlsplit(route.request.url).path)
        route.fulfill(status=got.status_code, headers=dict(got.headers), body=got.text)

    page = open_page("about:blank", color_scheme="dark")
    page.route("**/*", answer)
    drawn = (
        "getComputedStyle(document.documentElement).colorScheme + getComputedStyle(document.querySelector('a')).color"
    )
    for path in ("results", "results/aa01"):
        page.goto(f"http://studio.example/{path}")
        page.evaluate("localStorage.removeItem('alignment-studio-theme')")
        page.reload()
        system = page.evaluate(drawn)
        page.evaluate("localStorage.setItem('alignment-studio-theme', 'light')")
        page.reload()
        chosen = page.evaluate(drawn)
        assert (system.partition("rgb")[0], chosen.partition("rgb")[0]) == ("light dark", "light")
        assert system.partition("rgb")[2] != chosen.partition("rgb")[2]
