"""Runs of few steps: the last step is made at a rate above 0, and a run tells whether its adapter moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.events import DetoxEvent, MeasureEvent, StepEvent, WeightChange
from studio.domain.settings import PairSettings
from studio.ml.detox.run import train_detox
from studio.ml.dpo.run import train_dpo
from studio.ml.reward.run import train_reward
from studio.ml.training.trainer import weight_change
from tests.helpers import detox, dpo, reward

RATE = 1e-2


def run(train: Callable[..., Any], job: Any) -> list[Any]:
    events: list[Any] = []
    train(job, events.append, lambda: False)
    return events


def dpo_run(base: Path, folder: Path, **settings: Any) -> list[Any]:
    return run(train_dpo, dpo.make_job(base, folder, count=4, heldout=0, epochs=1, learning_rate=RATE, **settings))


def reward_run(base: Path, folder: Path, **settings: Any) -> list[Any]:
    rows = reward.word_rows(4)
    return run(train_reward, reward.reward_job(base, folder, rows, epochs=1, learning_rate=RATE, **settings))


def detox_run(base: Path, folder: Path, **settings: Any) -> list[Any]:
    return run(train_detox, detox.make_job(base, folder, steps=1, learning_rate=RATE, **settings))


@pytest.mark.parametrize("limit", [0.0, 0.001], ids=["by steps", "by time"])
@pytest.mark.parametrize("method", [dpo_run, reward_run, detox_run])
def test_an_only_step_is_no_warm_up(base: Path, tmp_path: Path, method: Callable[..., list[Any]], limit: float) -> None:
    for ratio in (0.1, 1.0):
        events = method(base, tmp_path / str(ratio), warmup_ratio=ratio, scheduler="linear", max_seconds=limit)
        (step,) = [event for event in events if isinstance(event, StepEvent | DetoxEvent)]
        assert step.learning_rate == pytest.approx(RATE)
        (change,) = [event for event in events if isinstance(event, WeightChange)]
        assert change.step == 1
        assert change.norm > 1e-4


def test_the_warm_up_leaves_the_last_step() -> None:
    def settings(ratio: float) -> PairSettings:
        return PairSettings(warmup_ratio=ratio, batch_size=4, epochs=2.0)

    assert settings(0.1).steps(50) == 26
    assert replace(settings(0.1), gradient_accumulation=4).steps(50) == 8
    assert replace(settings(0.1), epochs=0.1).steps(50) == 2
    assert [settings(0.1).warmup_steps(steps) for steps in (1, 2, 10, 11)] == [0, 1, 1, 2]
    assert settings(1.0).warmup_steps(5) == 4
    assert settings(0.0).warmup_steps(5) == 0


def test_the_change_is_the_norm_of_what_was_added_to_the_weights(base: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    fresh = get_peft_model(dpo.load(base)[0], LoraConfig(r=4, target_modules="all-linear"))
    assert weight_change(fresh) == 0
    events = dpo_run(base, tmp_path, warmup_ratio=0.0)
    (change,) = [event for event in events if isinstance(event, WeightChange)]
    loaded = PeftModel.from_pretrained(dpo.load(base)[0], str(tmp_path)).merge_and_unload()
    before = dpo.load(base)[0].state_dict()
    moved = [(now - before[name]).flatten() for name, now in loaded.state_dict().items()]
    assert change.norm == pytest.approx(float(torch.cat(moved).norm()), rel=1e-4)


@pytest.mark.parametrize(("answers", "told"), [(0, 0), (3, 3), (24, 24)])
def test_as_many_answers_are_measured_as_the_run_asks_for(base: Path, tmp_path: Path, answers: int, told: int) -> None:
    events = dpo_run(base, tmp_path, measured_answers=answers, warmup_ratio=0.0)
    measures = [event.measured for event in events if isinstance(event, MeasureEvent)]
    assert [share.n + share.abstained for share in measures] == ([told] * 2 if told else [])
