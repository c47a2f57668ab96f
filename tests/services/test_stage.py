"""The stage's dials: which adapters make one, and what was measured along it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from studio.domain.events import SupportShare
from studio.domain.sweeps import BlendPoint, MeasuredBlend, Sweep
from studio.errors import ConflictError, NotFoundError
from studio.services.runs.store import RunView
from studio.services.stage import Dial, dial_of, dials, find_dial, measured_along
from tests.helpers.run_views import SHARE, view
from tests.helpers.runs import make_recipe

UNJUDGED = dataclasses.replace(SHARE, share=float("nan"), n=0)


def run(run_id: str, ratio: float, share: SupportShare | None = SHARE, **changes: Any) -> RunView:
    recipe = dataclasses.replace(make_recipe(run_id, created=1.0), support_ratio=ratio, **changes)
    return view("done", run_id, recipe=recipe, has_adapter=True, adapter_share=share, base_share=SHARE)


def test_two_ratios_of_one_base_and_data_are_blended_else_the_strength_is_turned() -> None:
    low, middle, high, older = run("run-low", 0.1), run("run-mid", 0.5), run("run-high", 0.9), run("run-old", 0.9)
    elsewhere = run("run-other", 0.0, dataset_hash="other data")
    untrained = view("failed", "run-none", recipe=low.recipe)
    reward = dataclasses.replace(high, run_id="run-reward", recipe=dataclasses.replace(high.recipe, method="reward"))
    runs = [low, middle, high, older, elsewhere, untrained, reward]
    assert dial_of(low, runs) == Dial(high, low, start=0.0)
    assert dial_of(high, runs) == Dial(high, low)
    assert dial_of(older, runs) == Dial(older, low)
    assert dial_of(middle, runs) == Dial(middle)
    assert dial_of(elsewhere, runs) == Dial(elsewhere)
    assert [dial.id for dial in dials(runs)] == [
        "run-high+run-low",
        "run-low",
        "run-mid",
        "run-high",
        "run-old",
        "run-other",
    ]
    assert find_dial(runs, "run-old+run-low") == Dial(older, low)
    assert find_dial(runs, "run-mid") == Dial(middle)
    for name, kind, sentence in (
        ("run-9", NotFoundError, "no run run-9"),
        ("run-high+", NotFoundError, "There is no run"),
        ("run-none", ConflictError, "run-none has no adapter that answers; it is failed"),
        ("run-reward", ConflictError, "no adapter that answers"),
        ("run-high+run-other", ConflictError, "make no dial"),
        ("run-high+run-high", ConflictError, "make no dial"),
    ):
        with pytest.raises(kind, match=sentence):
            find_dial(runs, name)


def test_only_what_was_measured_is_told() -> None:
    low, high = run("run-low", 0.1, UNJUDGED), run("run-high", 0.9)
    half, end = (dataclasses.replace(SHARE, share=share) for share in (0.6, 0.2))
    points = (BlendPoint(0, end), BlendPoint(0.5, half), BlendPoint(0.75, UNJUDGED), BlendPoint(1, half))
    blend = MeasuredBlend("run-high", "run-low", points)
    sweep = Sweep("sweep-1", "Ratios", "ratio", "embedded", "Toy", 0, 1.0, (), blend)
    other = dataclasses.replace(sweep, blend=MeasuredBlend("run-high", "run-9", points))
    assert measured_along(Dial(high, low), [other]) == {1: SHARE}
    # a run's own figure goes before that of the curve's end
    assert measured_along(Dial(high, low), [sweep]) == {0: end, 0.5: half, 1: SHARE}
    assert measured_along(Dial(high), [sweep]) == {0: SHARE, 1: SHARE}
    assert measured_along(Dial(low), [sweep]) == {0: SHARE}
