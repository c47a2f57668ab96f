"""An evaluation as one file that needs nothing else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser

import pytest

from studio.config import Settings
from studio.domain.toxicity import ScorerInfo, TestPrompt
from studio.services import Services
from studio.services.pages.evaluation import evaluation_html, evaluation_page
from tests.helpers.evaluations import light_run, make_evaluation, make_spec
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
    page = evaluation_html(make_evaluation(), {"run-a": "Detox of A"}, {})
    found = read(page)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(found.tags)
    assert found.addresses == []
    assert not re.search(r"url\(|@import|https?://", page.replace("http-equiv", "")), "nothing to fetch in its style"
    assert "default-src 'none'" in unescape(page)
    assert page.count("<svg") == 2, "toxicity and reward"


def test_it_says_what_was_found_by_whom_and_how_it_was_made() -> None:
    evaluation = make_evaluation()
    page = evaluation_html(evaluation, {"run-a": "Detox of A"}, {})
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
    page = evaluation_html(dataclasses.replace(one, rows=rows), {"run-a": NASTY, "run-b": NASTY}, {})
    found = read(page)
    assert not {"script", "img"} & set(found.tags)
    assert "&lt;script&gt;" in page


def test_the_recipe_of_a_run_that_is_still_there_is_told(services: Services) -> None:
    light_run(services.runs, "run-a")
    page = evaluation_page(services.runs, make_evaluation())
    assert "Recipe of Title of run-a" in page
    assert "learning_rate" in page
    assert "rows_support" not in page
    assert "run-b" in page, "a run that is gone keeps its id"
