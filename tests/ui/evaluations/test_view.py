"""What a page says of an evaluation: sentences by hand-worked numbers, everything from outside escaped, answers covered."""

from __future__ import annotations

import dataclasses
import re

import pytest

from studio.domain.evaluations import Evaluation, EvaluationRow
from studio.domain.toxicity import NOT_COVERED, TextScore
from studio.services.evaluations.reading import footing, headline
from studio.services.evaluations.statistics import compare
from studio.services.evaluations.status import EvaluationStatus
from studio.services.evaluations.table import by_difference
from studio.services.wording import signed
from studio.ui.evaluations import charts, view
from tests.helpers.evaluations import PROMPTS, make_evaluation, make_spec

EVIL = '<img src=x onerror="alert(1)">'


def score(toxicity: float) -> TextScore:
    return TextScore(toxicity, 1 - toxicity, (), "")


def evaluation(*values: tuple[float | None, float | None], answer: str = "Go away now") -> Evaluation:
    """One adapter, one sample, a prompt for each pair of toxicities (None: not covered)."""
    prompts = tuple(dataclasses.replace(PROMPTS[0], id=f"p{n:02}") for n in range(len(values)))
    rows = tuple(
        EvaluationRow(
            "run-a",
            prompt.id,
            0,
            prompt.text,
            answer,
            answer,
            NOT_COVERED if before is None else score(before),
            NOT_COVERED if after is None else score(after),
        )
        for prompt, (before, after) in zip(prompts, values, strict=True)
    )
    spec = make_spec(adapters=("run-a",), hashes=("", "abc"), prompts=prompts, samples=1)
    return make_evaluation(spec=spec, rows=rows, total=len(rows))


def said(made: Evaluation) -> str:
    return "\n".join(headline(made, compare(made.rows), {"run-a": "Kind"}))


def test_a_difference_is_told_with_all_it_stands_on() -> None:
    made = evaluation(*[(0.8, 0.2), (0.6, 0.1)] * 6)
    text = said(made)
    assert re.search(
        r"^Kind: toxicity is lower than with the base \(mean 0\.700 before, 0\.150 after, difference −0\.550 \(−79 %\), "
        r"95 % interval −0\.\d{3} to −0\.\d{3}; n = 12 pairs on 12 prompts\)\.$",
        text,
        re.MULTILINE,
    )
    # 12 of 12 mended: 2 / 2^12
    assert "12 of 12 (100 %) before, 0 of 12 (0 %) after; 12 went below, 0 above (exact test, p < .001)" in text
    assert "longer" not in text
    foot = footing(made)
    assert "Scripted scorer (scripted, revision r1)" in foot
    assert "12 prompts of mixed, 1 sample each, temperature 0.7, seed 5" in foot
    assert "Unfinished" not in foot
    assert "Unfinished: 12 of 40 pairs" in footing(dataclasses.replace(made, total=40))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([(0.8, 0.2), (0.2, 0.8)] * 6, "no detectable change in toxicity from the base"),
        ([(0.8, 0.2)] * 3, "No interval: fewer than 6 prompts"),
        ([(0.5, 0.25)] * 8, "No interval: all pairs differ by the same amount."),
        ([(None, 0.2), (0.3, None)] * 4, "covers both answers in none of the 8 pairs; not covered is not clean"),
        ([(0.8, 0.2), (0.6, 0.1)] * 6 + [(None, 0.1)], "1 pair left out"),
    ],
)
def test_what_was_not_found_is_told(values: list[tuple[float | None, float | None]], sentence: str) -> None:
    text = said(evaluation(*values))
    assert sentence in text
    if "no detectable change" in sentence:
        assert "the 95 % CI includes 0" in text
        assert not re.search(r"[−+]\d+ %[;)]", text), "no percentage of a difference that cannot be told"


def test_saying_less_is_told() -> None:
    made = evaluation(*[(0.8, 0.2), (0.6, 0.1)] * 6, answer="one two three four five six")
    short = dataclasses.replace(made, rows=tuple(dataclasses.replace(row, response_after="no") for row in made.rows))
    assert "much shorter, 1.0 words after, 6.0 before" in said(short)
    empty = dataclasses.replace(made, rows=tuple(dataclasses.replace(row, response_after="") for row in made.rows))
    assert "12 answers after say nothing at all (0 before)" in said(empty)


def test_signs() -> None:
    assert [signed(number, 2) for number in (-0.004, 0.0, 0.126, -1.5)] == ["0.00", "0.00", "+0.13", "−1.50"]


def test_everything_from_outside_is_escaped_and_answers_are_covered() -> None:
    made = evaluation(*[(0.9, 0.1)] * 8, answer=f"moron {EVIL}")
    rows = tuple(dataclasses.replace(row, query=f"Why? {EVIL}") for row in made.rows)
    scorer = dataclasses.replace(made.spec.scorer, title=EVIL, measures=EVIL, revision=EVIL)
    made = dataclasses.replace(made, rows=rows, spec=dataclasses.replace(made.spec, scorer=scorer, title=EVIL))
    found, names = compare(made.rows), {"run-a": EVIL}
    status = EvaluationStatus("a", EVIL, "failed", 1, 2, EVIL)
    pages = [
        view.progress_html(status),
        view.findings_html(made, found, names),
        view.figures_html(found, names),
        view.pairs_html(made, by_difference(made.rows), 0, names, False),
        view.ends_html(made),
    ]
    for page in pages:
        assert "<img" not in page
        assert "&lt;img" in page
        assert "moron" not in re.sub(r'<div class="cover-text".*?</div>', "", page, flags=re.DOTALL)
    figure = charts.toxicity_figure(made.rows, {"run-a": EVIL, "run-b": EVIL})
    assert figure is not None
    assert "<img" not in figure.to_json()


def test_the_charts_are_the_empirical_distributions() -> None:
    made = evaluation((0.9, 0.3), (0.5, 0.1), (None, 0.2))
    figure = charts.toxicity_figure(made.rows, {"run-a": "Kind"})
    assert figure is not None
    before, after = figure.data
    assert (list(before.x), list(before.y)) == ([0.5, 0.5, 0.9], [0, 0.5, 1])
    assert (list(after.x), list(after.y)) == ([0.1, 0.1, 0.3], [0, 0.5, 1])
    rewards = [
        dataclasses.replace(row, before=TextScore(None, 1.0, (), ""), after=TextScore(None, 2.0, (), ""))
        for row in made.rows
    ]
    assert charts.toxicity_figure(rewards, {"run-a": "Kind"}) is None
    assert charts.reward_figure(rewards, {"run-a": "Kind"}) is not None
    assert charts.reward_figure([], {}) is None


def test_pages_and_order_of_the_table() -> None:
    made = evaluation(*[(0.5, 0.5 - n / 100) for n in range(view.PAGE + 2)], (None, 0.1))
    rows = by_difference(made.rows)
    assert view.pages(len(rows)) == 2
    assert view.pages(0) == 1
    worst = view.worst_order(rows)
    assert [row.difference for row in worst[:2]] == pytest.approx([0.0, 0.01])
    assert worst[-1].difference is None
    assert view.pairs_html(made, rows, 1, {}, False).count("<tr><td>") == 3
    assert "No pair passes" in view.pairs_html(made, [], 0, {}, False)
