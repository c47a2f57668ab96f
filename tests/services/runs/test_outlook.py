"""How long a run will be, and what is said of one that changed or measured nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from studio.domain.detox import DetoxSettings
from studio.domain.events import WeightChange
from studio.domain.runs import BaseModelRef, DetoxRecipe, RunStatus
from studio.domain.settings import DpoSettings, KtoSettings, LoraSettings, RewardSettings
from studio.services.library.model_card import model_card
from studio.services.recipes.presets import DETOX_PRESETS, PRESETS
from studio.services.runs.outlook import Outlook, faster_way, offered, outlook, seconds_left
from studio.services.runs.reading import measuring_off, unchanged
from studio.services.runs.store import RunView
from studio.ui.detox import view as detox_view
from studio.ui.training import run_view
from tests.helpers.detox_records import detox_event, detox_recipe
from tests.helpers.run_views import view
from tests.helpers.runs import make_recipe
from tests.helpers.scripted_trainer import step_event

LORA = LoraSettings()


def earlier(
    step: int = 10, seconds: float = 20.0, base: str = "mine", lora: LoraSettings = LORA, **dpo: Any
) -> RunView:
    """A DPO run on eight pairs a step that has taken ``seconds`` for its steps so far."""
    recipe = dataclasses.replace(
        make_recipe("toy-r50"), base=BaseModelRef(base), lora=lora, settings=DpoSettings(**dpo)
    )
    return view("done", recipe=recipe, last_step=dataclasses.replace(step_event(step, 10), elapsed=seconds))


def said(settings: Any, rows: int = 50, runs: tuple[RunView, ...] = (), base: str = "mine", preset: str = "") -> str:
    known = outlook(settings, LORA, rows, base, preset, runs)
    return " ".join([*known.sentences(), known.basis]).strip()


def test_steps_are_counted_before_a_run_and_few_ones_are_warned_of() -> None:
    assert said(DpoSettings(epochs=4.0)) == "28 steps."
    assert said(RewardSettings(epochs=1.0), rows=33) == "5 steps."
    assert said(DetoxSettings(steps=24)) == "24 steps."
    few = said(DpoSettings(epochs=1.0), rows=4)
    assert few.startswith("1 step. ⚠️ Fewer than 5 steps change little")
    assert "⚠️" in said(DetoxSettings(steps=4))
    assert said(DpoSettings(max_seconds=60.0)) == "Training ends after 60 s."


def test_the_time_is_that_of_earlier_runs_on_the_same_base_alone() -> None:
    settings = DpoSettings(epochs=4.0)
    assert "28 steps, about 56 s without measuring. 2 s a step in an earlier run." in said(settings, runs=(earlier(),))
    # twice the pairs a step take twice the time, the newest run that can be compared counts
    double = dataclasses.replace(settings, batch_size=16)
    runs = (
        earlier(step=1),
        earlier(base="other"),
        earlier(lora=LoraSettings(layers="1/2")),
        earlier(),
        earlier(seconds=90.0),
    )
    assert "16 steps, about 64 s without measuring. 4 s a step in an earlier run." in said(double, runs=runs)
    assert said(settings, runs=runs[:3]) == said(KtoSettings(epochs=4.0), runs=runs) == "28 steps."
    assert said(DpoSettings(max_seconds=60.0), runs=runs) == "Training ends after 60 s, about 30 steps."
    # the newest was stopped after two steps, of which the first was slow
    stopped = dataclasses.replace(earlier(step=2, seconds=10.0), status=RunStatus("stopped"))
    assert said(settings, runs=(stopped, earlier())) == said(settings, runs=(earlier(),))
    assert " 5 s a step" in said(settings, runs=(stopped,))


def test_before_the_first_reward_run_dpo_runs_tell() -> None:
    settings = RewardSettings(epochs=4.0)
    assert "28 steps, about 56 s without measuring" in said(settings, runs=(earlier(),))
    own = dataclasses.replace(earlier(seconds=10.0), recipe=dataclasses.replace(earlier().recipe, settings=settings))
    assert " 1 s a step" in said(settings, runs=(earlier(), own))
    assert said(DpoSettings(epochs=4.0), runs=(own,)) == "28 steps."


def test_another_share_of_the_upper_layers_tells_by_its_size() -> None:
    third, half = (LoraSettings(layers=share) for share in ("1/3", "1/2"))

    def seconds(lora: LoraSettings, *runs: RunView) -> float | None:
        return outlook(DpoSettings(epochs=4.0), lora, 50, "mine", "", runs).step_seconds

    assert seconds(half, earlier(lora=third)) == pytest.approx(3.0)
    assert seconds(half, earlier(lora=third), earlier(lora=half)) == pytest.approx(2.0)
    assert seconds(LoraSettings(layers="0/2"), earlier(lora=half)) is None
    assert seconds(LORA, earlier(lora=half)) is seconds(half, earlier()) is None


def test_a_lent_gpu_is_asked_for_as_long_as_earlier_runs_on_one_took() -> None:
    def lent(settings: Any, *runs: RunView) -> Outlook:
        return outlook(settings, LORA, 50, "mine", "", runs, lent=True)

    settings, run = DpoSettings(epochs=4.0), earlier()
    on_gpu = dataclasses.replace(run, status=dataclasses.replace(run.status, lent=True))
    unknown = lent(settings, run)
    assert unknown.call_seconds == 120, "a run on the CPU tells nothing"
    assert unknown.sentences() == ["28 steps.", "Asks ZeroGPU for 120 s of your quota."]
    known = lent(settings, on_gpu)
    assert known.call_seconds == 45 + 68, "a fifth more than 28 steps of 2 s, and what stands around them"
    assert known.sentences()[-1] == "Asks ZeroGPU for 113 s of your quota."
    assert lent(DpoSettings(max_seconds=60.0)).call_seconds == 45 + 72
    assert said(settings, runs=(on_gpu,)) == "28 steps."


def test_over_two_minutes_the_faster_preset_is_offered() -> None:
    slow = (earlier(seconds=50.0),)
    assert "about 2 min" in said(DpoSettings(epochs=4.0), runs=slow)
    assert "faster: the preset “Real small model" in said(DpoSettings(epochs=4.0), runs=slow)
    assert "faster" not in said(DpoSettings(epochs=3.0), runs=slow)
    assert "faster" not in said(
        DpoSettings(epochs=4.0), runs=(earlier(seconds=50.0, base="embedded"),), base="embedded"
    )
    upper = LoraSettings(layers="1/2")
    assert outlook(DpoSettings(epochs=9.0), upper, 50, "mine", "", [earlier(seconds=50.0, lora=upper)]).faster is None


def test_a_run_at_work_offers_it_from_its_second_step() -> None:
    recipe = dataclasses.replace(make_recipe("toy-r50"), base=BaseModelRef("mine"))

    def at(step: int, eta: float, state: Any = "running", recipe: Any = recipe) -> RunView:
        return view(state, recipe=recipe, last_step=dataclasses.replace(step_event(step, 10), eta=eta))

    assert seconds_left(at(2, 300.0)) == 300.0
    assert [seconds_left(at(1, 300.0)), seconds_left(at(10, 0.0)), seconds_left(at(2, 300.0, "done"))] == [None] * 3
    assert (faster := offered(at(2, 300.0)))
    assert faster.preset is PRESETS["real-small"]
    assert (
        offered(at(2, 119.0)) is offered(at(1, 300.0)) is offered(at(2, 300.0, recipe=make_recipe("toy-r50"))) is None
    )
    by_clock = dataclasses.replace(recipe, settings=dataclasses.replace(recipe.settings, max_seconds=600.0))
    assert offered(at(2, 300.0, recipe=by_clock)) is None
    detox = detox_recipe(preset="course")
    assert (way := faster_way(detox))
    assert way.preset is DETOX_PRESETS["quick"]
    assert faster_way(dataclasses.replace(detox, preset="quick")) is None
    slow = view(recipe=detox, last_step=None, detox_step=dataclasses.replace(detox_event(3), eta=200.0))
    assert offered(slow) == way


# -- nothing changed, nothing measured ----------------------------------------------------------------------------------


def test_a_run_that_changed_nothing_says_so_in_red_and_in_its_card() -> None:
    still = view("done", change=WeightChange(1, 0.0))
    assert "The adapter equals the base: this run trained nothing" in unchanged(still)
    assert 'class="run-message alert"' in run_view.progress(still)
    assert "trained nothing" in run_view.progress(still)
    assert "**The adapter equals the base" in model_card(still)
    for run in (view("done"), view("done", change=WeightChange(1, 1e-3))):
        assert unchanged(run) == ""
        assert "alert" not in run_view.progress(run)
        assert "equals the base" not in model_card(run)
    onward: DetoxRecipe = detox_recipe(start_run="toy-r50")
    assert "the adapter it started from" in unchanged(view("done", recipe=onward, change=WeightChange(1, 0.0)))


@pytest.mark.parametrize(
    ("recipe", "shown"), [(make_recipe("toy-r50"), run_view.result), (detox_recipe(), detox_view.result)]
)
def test_measuring_that_was_off_is_named(recipe: Any, shown: Any) -> None:
    off = dataclasses.replace(recipe, settings=dataclasses.replace(recipe.settings, measured_answers=0))
    told = "Measuring was switched off for this run"
    assert told in measuring_off(view("done", recipe=off))
    assert told in shown(view("done", recipe=off))
    assert told in model_card(view("done", recipe=off))
    assert told not in shown(view("done", recipe=recipe)) + model_card(view("done", recipe=recipe))
