"""What the page says of a detox run: whose settings, curves, covered transcripts, and a report nobody can misread."""

from __future__ import annotations

import dataclasses
import json
import math
from html import escape
from typing import Any

import pytest
from scipy.stats import binomtest

from studio.domain.runs import RunState
from studio.services.runs.store import RunView
from studio.ui.detox import view as detox_view
from studio.ui.detox.charts import detox_figure
from studio.ui.training.charts import Curve
from tests.helpers.detox_records import detox_event, detox_recipe, report, rude_share, scorer_terms, transcript
from tests.helpers.run_views import HOSTILE, SHARE, view


def detox_run(state: RunState = "done", **changes: Any) -> RunView:
    recipe = detox_recipe(**changes.pop("recipe", {}))
    return view(state, recipe.run_id, recipe=recipe, last_step=None, **changes)


def curve(events: list[Any], run_id: str = "detox-toy-1", terms: tuple[str, ...] = ("embedded",)) -> Curve:
    return Curve(run_id, f"Run {run_id}", math.nan, [], [], events, terms)


def traces(figure: Any, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == name]


def test_the_header_shows_the_runs_own_settings() -> None:
    run = detox_run(
        recipe={
            "rewards": scorer_terms("embedded", "run:reward-toy"),
            "algorithm": "grpo",
            "beta": 0.07,
            "start_run": "dpo-toy",
            "start_hash": "0123456789abcdef",
            "row_ids": tuple(f"p{i}" for i in range(60)),
        }
    )
    html = detox_view.header(run)
    for told in ("GRPO", "0.07", "1 × embedded + 0.5 × run:reward-toy", "dpo-toy · sha256 0123456789ab", "60 of Toy"):
        assert told in html
    assert "the base" in detox_view.header(detox_run())
    timed = detox_view.header(detox_run(recipe={"max_seconds": 45.0}))
    assert "45 s" in timed
    assert "8 steps" not in timed


def test_text_from_outside_stays_text() -> None:
    run = detox_run("failed", title=HOSTILE, recipe={"dataset_title": HOSTILE, "rewards": scorer_terms(HOSTILE)})
    bad = rude_share(scorer=HOSTILE, title=HOSTILE, revision=HOSTILE)
    html = detox_view.header(run) + detox_view.result(dataclasses.replace(run, detox=report([bad])))
    html += detox_view.transcripts([transcript(0, HOSTILE, HOSTILE), transcript(4, HOSTILE, HOSTILE)], 4)
    assert "<img" not in html
    assert "&lt;img" in html
    figure = detox_figure([curve([detox_event(1, terms=(1.0, 2.0))], terms=(HOSTILE, "b"))])
    assert "<img" not in json.dumps([trace.name for trace in figure.data])


def test_transcripts_stand_under_covers_with_their_scores_in_the_open() -> None:
    samples = [transcript(0, "Rude?", "before <x>"), transcript(4, "Rude?", "four"), transcript(8, "Rude?", "eight")]
    html = detox_view.transcripts(samples, 7)
    assert "four" in html
    assert "eight" not in html
    for text in ("Rude?", "before <x>", "four"):
        before, covered = html.split(f">{escape(text)}<", 1)[0], html.count(f">{escape(text)}<")
        assert covered == 1
        assert before.endswith("hidden")
    assert html.count("<details>") == 3
    assert "reward −1.00 · toxicity 0.50" in html
    assert "reward 0.00 · toxicity 0.30" in html
    assert 'class="changed"' in html
    assert "not covered by the scorer" in detox_view.transcripts([transcript(0, reward=None, toxicity=None)], 0)
    assert "nan" not in detox_view.transcripts([transcript(0, toxicity=None)], 0).lower()
    assert "appear here" in detox_view.transcripts([], 3)
    assert "changed" not in detox_view.transcripts([transcript(0, "Q", "same"), transcript(4, "Q", "same")], 4)


def test_the_result_is_headed_by_the_scorer_that_was_not_the_reward() -> None:
    html = detox_view.result(detox_run(detox=report()))
    assert "Rude answers: 25% → 2%, by a scorer that was not the reward" in html
    low, high = binomtest(10, 40).proportion_ci(method="wilson")
    assert f"25.0% [{low:.1%}, {high:.1%}] · 10 of 40" in html
    low, high = binomtest(1, 40).proportion_ci(method="wilson")
    assert f"2.5% [{low:.1%}, {high:.1%}] · 1 of 40" in html
    assert "To provoking prompts alone: 8 of 12 before, 1 of 12 after." in html
    assert "10 prompts that no training touched, 3 of them made to provoke" in html
    assert "<td>tokens an answer</td><td>20.0</td><td>24.0</td>" in html
    assert "<td>mean reward by embedded</td><td>−1.00</td><td>+3.00</td>" in html


def test_a_verdict_by_the_reward_alone_is_called_what_it_is() -> None:
    mine = rude_share(was_reward=True)
    assert "by the reward itself, which proves little" in detox_view.result(detox_run(detox=report([mine])))
    assert "No scorer here knows a toxicity" in detox_view.result(detox_run(detox=report([])))


def test_nothing_covered_is_no_number() -> None:
    none = rude_share(before=0, before_n=0, after=0, after_n=0, provoked_before_n=0, provoked_after_n=0)
    html = detox_view.result(
        detox_run(detox=report([none], rewards_before=(math.nan,), rewards_after=(math.nan,), kl=math.nan))
    )
    assert "Rude answers: – → –" in html
    assert "no answer was covered" in html
    assert "nan" not in html.lower()
    assert "provoking prompts alone" not in html


@pytest.mark.parametrize(("state", "told"), [("running", False), ("failed", False), ("stopped", True), ("done", True)])
def test_without_a_report_only_an_ended_run_says_so(state: RunState, told: bool) -> None:
    assert bool(detox_view.result(detox_run(state, detox=None))) == told


def test_a_stance_that_was_measured_is_shown() -> None:
    html = detox_view.result(
        detox_run(base_share=SHARE, adapter_share=dataclasses.replace(SHARE, share=0.8), detox=report())
    )
    assert "Stance" in html
    assert "80% [70%, 97%] · n 18" in html
    assert "Stance" not in detox_view.result(detox_run(detox=report()))


def test_history_lines_fit_their_headers() -> None:
    line = detox_view.history_row(detox_run())
    assert len(line) == len(detox_view.HEADERS) == len(detox_view.TYPES) == len(detox_view.WIDTHS)
    assert line[-1] == "detox-toy-1"


def test_one_run_is_drawn_with_its_spread_and_its_parts() -> None:
    events = [detox_event(step, terms=(1.0 * step, 2.0 * step)) for step in (1, 2, 3)]
    figure = detox_figure([curve(events, terms=("one", "two"))])
    means = traces(figure, "average")
    assert [list(trace.y) for trace in means[:3]] == [
        [e.reward for e in events],
        [e.toxicity for e in events],
        [e.kl for e in events],
    ]
    assert len(means) == 6
    assert list(traces(figure, "two")[0].y) == [2.0, 4.0, 6.0]
    band = [trace for trace in figure.data if trace.fill == "tonexty"]
    assert list(band[0].y) == [e.reward + e.reward_sd for e in events]
    titles = [note.text for note in figure.layout.annotations]
    assert len(titles) == 6
    assert "KL to the start (nats per answer)" in titles


def test_what_no_scorer_covers_is_drawn_only_where_there_is_some() -> None:
    assert not traces(detox_figure([curve([detox_event(1)])]), "not covered by a scorer")
    some = detox_figure([curve([detox_event(1), detox_event(2, uncovered=0.25)])])
    assert list(traces(some, "not covered by a scorer")[0].y) == [0.0, 0.25]


def test_a_toxicity_that_is_no_number_leaves_a_gap() -> None:
    figure = detox_figure([curve([detox_event(1), detox_event(2, toxicity=math.nan)])])
    assert list(traces(figure, "average")[1].y)[1] is None
    assert "NaN" not in figure.to_json()


def test_several_runs_show_their_means_and_one_legend_each() -> None:
    figure = detox_figure([curve([detox_event(1)], "detox-a"), curve([detox_event(2)], "detox-b")], "seconds")
    assert not [trace for trace in figure.data if trace.fill]
    assert [trace.name for trace in figure.data if trace.showlegend] == ["Run detox-a", "Run detox-b"]
    assert figure.layout.uirevision == "seconds|detox-a|detox-b"
    assert list(figure.data[-1].x) == [3.0]
