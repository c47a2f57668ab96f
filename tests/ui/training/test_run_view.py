"""What the page says of a run: text from outside stays text, and what is not a number is not shown as one."""

from __future__ import annotations

import dataclasses
import math
from typing import get_args

import pytest

from studio.domain.events import ProbeEvent, SampleEvent, SupportShare
from studio.domain.runs import FINAL_STATES, BaseModelRef, RunState, RunStatus
from studio.domain.settings import LoraSettings
from studio.services.library.adapter_files import AdapterFacts
from studio.services.library.upload import foreign_recipe
from studio.services.runs.store import RunView
from studio.ui.training import run_view
from studio.ui.training.watch import ahead_of, to_watch
from tests.helpers.run_views import HOSTILE, SHARE, view
from tests.helpers.runs import make_recipe
from tests.helpers.scripted_trainer import step_event


def shown(run: RunView) -> str:
    return run_view.header(run) + run_view.progress(run) + run_view.result(run)


def test_text_from_outside_stays_text() -> None:
    recipe = make_recipe("toy-r50")
    recipe = dataclasses.replace(
        recipe,
        dataset_title=HOSTILE,
        base=dataclasses.replace(recipe.base, id=HOSTILE),
        settings=dataclasses.replace(recipe.settings, loss_type=HOSTILE),
    )
    run = view("failed", title=HOSTILE, recipe=recipe, status=RunStatus("failed", message=HOSTILE))
    html = shown(run) + run_view.film_strip(
        [SampleEvent(0, HOSTILE, HOSTILE), SampleEvent(5, HOSTILE, HOSTILE + "!")], 5
    )
    html += run_view.log(HOSTILE)
    assert "<img" not in html
    assert html.count("&lt;img") == 9


@pytest.mark.parametrize("state", get_args(RunState))
def test_every_state_is_named_and_drawn(state: RunState) -> None:
    html = shown(view(state))
    assert f">{state}</span>" in html
    assert ('role="progressbar"' in html) == (state != "done")  # then its result stands there


def test_a_running_run_says_how_far_and_how_long() -> None:
    html = run_view.progress(view())
    assert "step 3 of 10" in html
    assert "0.3 s" in html
    assert "about 1 s left" in html
    assert 'aria-valuenow="30"' in html
    assert run_view.progress(view("done")) == ""
    first = run_view.progress(view(last_step=step_event(1, 10)))
    assert "step 1 of 10" in first
    assert "about" not in first  # one step tells of setting up
    endless = dataclasses.replace(step_event(3, 10), eta=math.inf)
    assert "about an unknown time left" in run_view.progress(view(last_step=endless))


def test_behind_its_last_step_a_run_says_what_goes_on() -> None:
    status = RunStatus("running", step=10, total=10, message="Measuring what was trained.")
    assert run_view.how_far(view(status=status, last_step=step_event(10, 10))) == (1.0, [status.message])
    early = dataclasses.replace(status, step=3, message="")
    assert run_view.how_far(view(status=early, last_step=step_event(3, 10)))[1][0] == "step 3 of 10"


def test_a_long_run_through_all_layers_of_a_real_base_names_the_faster_preset() -> None:
    slow = dataclasses.replace(step_event(3, 10), eta=300.0)
    recipe = dataclasses.replace(make_recipe("toy-r50"), base=BaseModelRef("smollm2-135m"))
    assert "upper layers only" in run_view.progress(view(recipe=recipe, last_step=slow))
    upper = dataclasses.replace(recipe, lora=LoraSettings(layers="1/2"))
    for run in (view(recipe=upper, last_step=slow), view(recipe=recipe), view(last_step=slow)):
        assert "upper layers only" not in run_view.progress(run)


def test_a_run_by_the_clock_fills_its_bar_by_the_clock() -> None:
    recipe = make_recipe("toy-r50")
    recipe = dataclasses.replace(recipe, settings=dataclasses.replace(recipe.settings, max_seconds=0.6))
    assert 'aria-valuenow="50"' in run_view.progress(view(recipe=recipe))
    assert "0.6 s" in run_view.header(view(recipe=recipe))


@pytest.mark.parametrize(
    ("ahead", "words"), [(0, "next in the queue"), (1, "1 run before this one"), (3, "3 runs before")]
)
def test_a_queued_run_says_its_place(ahead: int, words: str) -> None:
    assert words in run_view.progress(view("queued", last_step=None, status=RunStatus("queued")), ahead)


def test_the_queue_is_counted_and_the_working_run_is_opened_first() -> None:
    def queued(run_id: str, at: float) -> RunView:
        return view("queued", run_id, status=RunStatus("queued", updated=at))

    first, second, third = queued("aaa", 1.0), queued("bbb", 2.0), queued("ccc", 3.0)
    done, working = view("done", "ddd"), view("running", "eee")
    listed = [third, second, first, done]
    assert [ahead_of(run, listed) for run in (first, second, third)] == [0, 1, 2]
    assert ahead_of(first, [working, *listed]) == 1
    assert to_watch(listed) == "aaa"
    assert to_watch([*listed, working]) == "eee"
    assert to_watch([done]) == "ddd"
    assert to_watch([]) is None


def test_the_result_puts_what_was_asked_beside_what_was_measured() -> None:
    probe = ProbeEvent(10, 0.8, 20, 0.25, 1.0)
    run = view("done", adapter_share=SHARE, base_share=SHARE, probe=probe)
    html = run_view.result(run)
    assert "Asked for 50% support, measured 90%" in html
    labels = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, dataset_kind="labels"))
    assert "Asked for 50% as labelled, measured 90%" in run_view.result(labels)
    assert "90% [70%, 97%] · n 18" in html
    assert "n 18, 2 abstained" in html
    assert "accuracy 95% on 100 answers" in html
    assert "a different measure: on 20 held-out pairs" in html
    assert run_view.result(view("running", adapter_share=SHARE)) == ""
    assert "whole" not in html


def test_answers_that_fall_apart_are_counted_and_said() -> None:
    whole = run_view.result(view("done", adapter_share=dataclasses.replace(SHARE, whole=19)))
    assert "2 abstained · 19 of 20 whole" in whole
    assert "fall apart" not in whole
    assert "fall apart" in run_view.result(view("done", adapter_share=dataclasses.replace(SHARE, whole=14)))


def test_shares_of_no_answers_are_not_numbers() -> None:
    none = SupportShare(math.nan, math.nan, math.nan, 0, 20, math.nan, 0)
    run = view("done", adapter_share=none)
    html = run_view.result(run)
    assert "nan" not in html.lower()
    assert "no answer could be judged (20 abstentions)" in html
    assert "nan" not in str(run_view.history_row(run)).lower()
    assert "No stance was measured" in run_view.result(view("done"))
    for state in FINAL_STATES[2:]:
        assert run_view.result(view(state)) == ""


def test_an_uploaded_adapter_shows_no_settings_it_does_not_have() -> None:
    facts = AdapterFacts("", "", 4, 8, 0.0, ("q_proj",), {}, {})
    recipe = foreign_recipe("up", BaseModelRef("embedded"), facts)
    run = view("done", recipe=recipe, last_step=None)
    assert "without a record" in shown(run)
    assert "nan" not in shown(run).lower()
    assert run_view.history_row(run)[4:6] == [None, None]


def test_the_film_strip_shows_the_newest_answers_up_to_a_step() -> None:
    samples = [SampleEvent(0, "Q", "base"), SampleEvent(5, "Q", "five"), SampleEvent(10, "Q", "ten")]
    at_seven = run_view.film_strip(samples, 7)
    assert "five" in at_seven
    assert "ten" not in at_seven
    assert "base" in at_seven
    assert 'class="changed"' in at_seven
    assert "film-strip shows" in run_view.film_strip([], 3)


def test_history_lines_fit_their_headers() -> None:
    line = run_view.history_row(view("done", adapter_share=SHARE))
    assert len(line) == len(run_view.HEADERS)
    assert line[-1] == "toy-r50"
    assert line[6] == "90% [70%, 97%] n 18"
