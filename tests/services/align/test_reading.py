"""The sentences that read a training curve aloud."""

from __future__ import annotations

import math
from typing import Any

import pytest

from studio.domain.events import ProbeEvent, StepEvent
from studio.services.align.reading import read_curve
from tests.helpers.scripted_trainer import step_event


def steps(*values: dict[str, Any]) -> list[StepEvent]:
    """One step each; what is not given is an unmoved adapter's."""
    still = {"loss": 0.693, "reward_chosen": 0.0, "reward_rejected": 0.0, "margin": 0.0, "accuracy": 0.5}
    return [StepEvent(**{**step_event(i, len(values)).__dict__, **still, **value}) for i, value in enumerate(values, 1)]


def read(events: list[StepEvent], probes: list[ProbeEvent] | None = None, loss_type: str = "sigmoid") -> str:
    return " ".join(read_curve(events, probes or [], loss_type=loss_type, support_ratio=0.9))


def test_nothing_is_said_before_the_first_step() -> None:
    assert read_curve([], [], loss_type="sigmoid", support_ratio=0.9) == []


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (0.693, "no preference yet"),
        (0.70, "no preference yet"),
        (0.4, "preferred answers are winning"),
        (0.9, "above 0.693"),
    ],
)
def test_the_loss_is_read_against_no_preference(loss: float, words: str) -> None:
    assert words in read(steps({}, {"loss": loss}))


def test_another_loss_is_not_read_against_0693() -> None:
    said = read(steps({}, {"loss": 4.0}), loss_type="ipo")
    assert "ipo" in said
    assert "above" not in said


def test_rewards_that_both_fall_while_the_margin_grows_are_normal() -> None:
    falling = steps({}, {"reward_chosen": -1.0, "reward_rejected": -3.0, "margin": 2.0, "loss": 0.2})
    assert "normal for DPO" in read(falling)
    rising = steps({}, {"reward_chosen": 1.0, "reward_rejected": -3.0, "margin": 4.0, "loss": 0.2})
    assert "normal for DPO" not in read(rising)


def test_a_negative_margin_is_named() -> None:
    assert "margin is negative" in read(steps({}, {"margin": -0.5, "loss": 0.9}))


def test_early_full_accuracy_reads_memorised_only_when_it_stays() -> None:
    early = [{"accuracy": 0.5}] * 6 + [{"accuracy": 1.0}] * 14
    assert "Accuracy 1.0 by step 7" in read(steps(*early))
    assert "memorised" not in read(steps(*early[:-1], {"accuracy": 0.5}, {"accuracy": 0.5}))
    assert "memorised" not in read(steps({"accuracy": 1.0}, {"accuracy": 1.0}))


def test_the_stance_says_where_it_went_and_on_how_many_pairs() -> None:
    probes = [ProbeEvent(0, 0.5, 20, 0.0, 0.0), ProbeEvent(10, 0.85, 20, 0.3, 1.0)]
    assert "On 20 held-out pairs the stance went towards support: 50% → 85% (asked for 90%)" in read(steps({}), probes)
    assert "towards oppose" in read(steps({}), [probes[1], ProbeEvent(20, 0.1, 20, 0.0, 0.0)])
    assert "held-out pairs" not in read(steps({}), probes[:1])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_all_there_is_to_say(loss: float) -> None:
    [said] = read_curve(steps({}, {"loss": loss}, {}), [], loss_type="sigmoid", support_ratio=0.9)
    assert "learning rate is too high" in said
