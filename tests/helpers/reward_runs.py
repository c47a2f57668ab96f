"""What tests of reward runs share beside a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from studio.domain.events import RewardReport, StepEvent
from studio.ml.reward.run import RewardJob, RewardResult, train_reward


def run(
    job: RewardJob, should_stop: Callable[[list[Any]], bool] = lambda events: False
) -> tuple[RewardResult, list[Any]]:
    events: list[Any] = []
    result = train_reward(job, events.append, lambda: should_stop(events))
    return result, events


def steps(events: list[Any]) -> list[StepEvent]:
    return [event for event in events if isinstance(event, StepEvent)]


def report_of(events: list[Any]) -> RewardReport:
    (report,) = [event for event in events if isinstance(event, RewardReport)]
    return report
