"""The report of an evaluation: one file that needs nothing else, and the pages of the kept ones."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from studio.config import Settings
from studio.domain.toxicity import ScorerInfo, TestPrompt
from studio.services import Services
from studio.ui.evaluations.report import report_html
from studio.ui.evaluations.report_page import report_of, report_routes
from tests.helpers.evaluations import light_run, make_evaluation, make_spec, store_evaluation
from tests.helpers.services import opened

NASTY = '</pre><script>alert("x")</script><img src=//evil.example/x onerror=alert(1)>'


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(settings) as made:
        yield made


class Reader(HTMLParser):
    """Every tag and every address a page names."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        assert not any(name.startswith("on") for name, _ in attrs), f"a handler on {tag}"


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_file_needs_nothing_and_runs_nothing() -> None:
    page = report_html(make_evaluation(), {"run-a": "Detox of A"}, {})
    found = read(page)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(found.tags)
    assert found.addresses == []
    assert not re.search(r"url\(|@import|https?://", page.replace("http-equiv", "")), "nothing to fetch in its style"
    assert "default-src 'none'" in page
    assert page.count("<svg") == 2, "toxicity and reward"


def test_it_says_what_was_found_by_whom_and_how_it_was_made() -> None:
    evaluation = make_evaluation()
    page = report_html(evaluation, {"run-a": "Detox of A"}, {})
    for said in (
        "Before and after",
        "Detox of A: toxicity mean",
        "Scripted scorer (scripted, revision r1",
        "seed 5",
        "adapter def",
        "Be kind.",
        "1970-01-01 00:16 UTC",
    ):
        assert said in page, said
    assert page.count('class="cover"') >= 2 * len(evaluation.rows), "both answers of every pair are covered"
    assert page.count("not covered") >= 4


def test_what_visitors_and_models_wrote_is_text() -> None:
    spec = make_spec(
        title=NASTY,
        prompt_set=NASTY,
        system_prompt=NASTY,
        prompts=tuple(TestPrompt(f"p{i}", NASTY) for i in range(4)),
        scorer=ScorerInfo(NASTY, "classifier", NASTY, NASTY, NASTY),
    )
    one = make_evaluation(spec=spec)
    rows = tuple(
        dataclasses.replace(row, query=NASTY, response_before=NASTY, response_after=NASTY, prompt_id=f"p{i // 4}")
        for i, row in enumerate(one.rows)
    )
    page = report_html(dataclasses.replace(one, rows=rows), {"run-a": NASTY, "run-b": NASTY}, {})
    found = read(page)
    assert not {"script", "img"} & set(found.tags)
    assert "&lt;script&gt;" in page


def test_the_recipe_of_a_run_that_is_still_there_is_told(services: Services) -> None:
    light_run(services.runs, "run-a")
    page = report_of(services, make_evaluation())
    assert "Recipe of Title of run-a" in page
    assert "learning_rate" in page
    assert "rows_support" not in page
    assert "run-b" in page, "a run that is gone keeps its id"


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
