"""Score text in a real browser: empty, bad input, scores with who gave them, covers, a picked label, files; and the endpoints."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from gradio_client import Client

from studio.domain.toxicity import NOT_COVERED, ScorerInfo, TextScore
from studio.services import Services
from studio.services.scoring.service import TextScores
from studio.services.wording import signed
from studio.ui.toxicity import view as score_view
from studio.ui.toxicity.score_text import build_score_section
from tests.helpers.pages import expand, open_tab, section_page, toast
from tests.helpers.scorers import COMMIT, make_classifier, put_in_cache

TABS = ("Compare",)
pytestmark = pytest.mark.timeout(900)

PATIENT_MS = 400_000
HATE_ID = "facebook/roberta-hate-speech-dynabench-r4-target"
RUDE, MILD = "You are a stupid idiot & nobody likes you.", "The museum opens at nine in the morning."


@pytest.fixture
def score_url(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The section alone, with two classifiers downloaded."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    put_in_cache(tmp_path / "hub", HATE_ID, make_classifier(tmp_path / "one", ("nothate", "hate")))
    put_in_cache(tmp_path / "hub", "org/several", make_classifier(tmp_path / "two", ("hate", "offensive", "neither")))
    with section_page(services, {"Toxicity": build_score_section}) as url:
        yield url
    services.scoring.close()


def choose(page: Any, field: str, value: str) -> None:
    box = page.locator(f"#{field} input").first
    box.fill(value)
    box.press("Enter")


def saved(page: Any, button: str) -> str:
    with page.expect_download() as waiting:
        page.click(button)
    return Path(waiting.value.path()).read_text(encoding="utf-8-sig")


def test_from_nothing_to_scores_covers_labels_and_files(open_page: Any, score_url: str, services: Services) -> None:
    page = open_page(score_url)
    page.locator("#tox-result", has_text="Nothing scored yet").wait_for()
    page.locator("#tox-about", has_text="embedded").wait_for()
    page.click("#tox-score")
    toast(page, "There is no text to score")

    page.fill("#tox-texts textarea", f"{RUDE}\n\n{MILD}\nIl fait beau aujourd'hui et nous allons à la plage.")
    page.click("#tox-score")
    rows = page.locator("#tox-result tbody tr")
    rows.nth(2).wait_for()
    direct = services.scoring.score_checked("embedded", [RUDE, MILD])
    said = page.inner_text("#tox-result")
    assert f"{direct.scores[0].toxicity:.3f}" in rows.nth(0).inner_text()
    assert signed(direct.scores[1].reward, 3) in rows.nth(1).inner_text()
    assert "not covered" in rows.nth(2).inner_text()
    assert "not covered, not counted: 1" in said
    assert direct.info.revision[:12] in said
    # what is over a half is under a cover until it is asked for
    assert "stupid" not in said.casefold()
    assert MILD in said
    rows.nth(0).get_by_label("Show the covered text").click()
    rows.nth(0).get_by_text(RUDE).wait_for()

    table = list(csv.DictReader(io.StringIO(saved(page, "#tox-csv"))))
    assert [row["text"] for row in table[:2]] == [RUDE, MILD]
    assert float(table[0]["toxicity"]) == direct.scores[0].toxicity
    assert table[2]["toxicity"] == ""
    assert {row["scorer"] for row in table} == {"embedded"}
    whole = json.loads(saved(page, "#tox-json"))
    assert whole["scorer"]["revision"] == direct.info.revision
    assert [one["label"] for one in whole["scores"]][2] == "not covered"

    # a classifier by its id, whose toxic label has to be picked
    choose(page, "tox-scorer", "org/several")
    page.locator("#tox-about", has_text="several labels that may be the toxic one").wait_for()
    page.locator("#tox-label input").click()
    page.get_by_role("option", name="offensive").click()
    page.locator("#tox-about", has_text="org/several#offensive").wait_for()
    page.click("#tox-score")
    page.locator("#tox-result", has_text=f"revision {COMMIT[:12]}").wait_for()
    assert "Probability of “offensive”" in page.inner_text("#tox-result")
    expected = services.scoring.score("org/several#offensive", [RUDE]).scores[0]
    assert f"{expected.toxicity:.3f}" in rows.nth(0).inner_text()

    # one that is not here offers its download, and scoring with it says why not
    choose(page, "tox-scorer", "unitary/toxic-bert")
    page.locator("#tox-fetch").wait_for()
    page.click("#tox-score")
    toast(page, "unitary/toxic-bert is not on this machine yet")
    page.click("#tox-fetch")
    toast(page, "could not be downloaded")


def test_one_text_of_many_lines_and_a_line_that_is_too_long(open_page: Any, score_url: str, services: Services) -> None:
    page = open_page(score_url)
    page.locator("#tox-about", has_text="embedded").wait_for()
    page.get_by_label("All of it is one text").check()
    page.fill("#tox-texts textarea", f"{MILD}\n{MILD}")
    page.click("#tox-score")
    page.locator("#tox-result", has_text="1 text ·").wait_for()
    page.get_by_label("Each line is a text").check()
    page.fill("#tox-texts textarea", f"{MILD}\n\n{'x' * 100_001}")
    page.click("#tox-score")
    toast(page, "Line 3 has 100,001 characters; at most 100,000 are scored")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth <= 390")


def test_the_endpoints_say_the_same(score_url: str, services: Services) -> None:
    client = Client(score_url, verbose=False, httpx_kwargs={"timeout": 60})
    found = client.predict([RUDE, MILD], HATE_ID, api_name="/score_toxicity")
    direct = services.scoring.score(HATE_ID, [RUDE, MILD]).scores
    assert [list(one) for one in found] == [["text", "toxicity", "logits", "label"]] * 2
    assert [one["toxicity"] for one in found] == pytest.approx([score.toxicity for score in direct], abs=1e-6)
    assert client.predict([MILD], api_name="/score_toxicity")[0]["text"] == MILD
    for texts, scorer, said in (
        ([MILD, " "], "embedded", "Text 2 is empty"),
        ([], "embedded", "There are 0 texts"),
        ([MILD], "unitary/toxic-bert", "not on this machine yet"),
        ([MILD], "../data/embedded", "not one of the text classifiers"),
    ):
        with pytest.raises(Exception, match=said):
            client.predict(texts, scorer, api_name="/score_toxicity")
    listed = client.predict(api_name="/scorers")
    assert listed[0]["name"] == "embedded"
    assert {one["name"]: one["ready"] for one in listed}[HATE_ID] is True
    assert next(one for one in listed if one["name"] == HATE_ID)["revision"] == COMMIT


def test_what_is_drawn_is_escaped_and_gaps_are_told() -> None:
    info = ScorerInfo("org/m", "classifier", "M", "abc", "a <i>sentence</i>", (), ("<ok>", "bad"), "bad")
    scores = (TextScore(0.25, 1.5, (1.5, 0.4), "<ok>", 3), NOT_COVERED, TextScore(0.75, -1.0, (-1.0, 0.1), "bad"))
    html = score_view.scored(TextScores(info, ("<script>", "你好", "<img>"), scores))
    assert "<script>" not in html
    assert "<img>" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;ok&gt;" in html
    assert "(3 tokens left out)" in html
    # mean of .25 and .75 is .5; sample standard deviation sqrt(2 * .25**2) = .354; one of two over a half
    assert "<b>0.500</b> ± 0.354 (sd)" in html
    assert "over 0.5: <b>1</b> of 2" in html
    assert "not counted: <b>1</b>" in html


def test_of_many_texts_the_worst_are_drawn() -> None:
    info = ScorerInfo("org/m", "classifier", "M", "abc", "it", (), ("ok", "bad"), "bad")
    scores = tuple(TextScore(0.1, float(index), (float(index), 0.0), "ok") for index in range(500))
    html = score_view.scored(TextScores(info, tuple(f"text {index}" for index in range(500)), scores))
    assert html.count("<tr>") == 1 + score_view.MAX_ROWS
    assert "text 0<" in html
    assert "text 499<" not in html
    assert "the 200 of 500 texts with the lowest rewards" in html


def test_a_toxicity_scorer_stands_below_the_panes_and_ranks_samples(page: Any, services: Services) -> None:
    open_tab(page, "Compare")
    page.wait_for_selector("#pane-identity-1 .pane-id")
    expand(page, "#pane-scores")
    page.locator("#score-with input").click()
    page.get_by_role("option", name="Toxicity · Embedded").click()
    page.click("#best-of")
    toast(page, "There is no question yet")
    page.fill("#prompt textarea", "Should anime be turned into live action?")
    page.press("#prompt textarea", "Enter")
    page.locator("#pane-reward-1 .pane-reward").wait_for(timeout=PATIENT_MS)
    answer = page.inner_text("#chat-1 .bot.message").strip()
    found = services.scoring.score("embedded", [answer])
    told = page.inner_text("#pane-reward-1")
    assert f"embedded @ {found.info.revision[:12]}" in told
    expected = "not covered" if not found.scores[0].covered else f"toxicity {found.scores[0].toxicity:.3f}"
    assert expected in told
    page.locator("#best-count input[type=number]").fill("2")
    page.locator("#best-count input[type=number]").blur()
    page.click("#best-of")
    page.locator("#best-result table.best", has_text="toxicity").wait_for(timeout=PATIENT_MS)
    assert page.locator("#best-result tbody tr").count() == 2
    assert found.info.revision[:12] in page.inner_text("#best-result")
