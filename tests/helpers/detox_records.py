"""Detox runs made by hand for what the page shows of them: recipes, the lines a worker would write, reports; no model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studio.domain.detox import DetoxSettings, RewardTerm
from studio.domain.events import AnswerFigures, DetoxEvent, DetoxReport, RudeShare, TranscriptEvent
from studio.domain.runs import Recipe
from tests.helpers.runs import make_recipe

TOTAL = 8


def detox_recipe(run_id: str = "detox-toy-1", **changes: Any) -> Recipe:
    """A recipe of a detox run; ``changes`` are fields of the recipe or of its settings."""
    recipe_fields = {f.name for f in dataclasses.fields(Recipe)}
    settings = {name: value for name, value in changes.items() if name not in recipe_fields}
    rest = {name: value for name, value in changes.items() if name in recipe_fields}
    detox = dataclasses.replace(DetoxSettings(steps=TOTAL), **settings)
    made = dataclasses.replace(
        make_recipe(run_id, created=1.0),
        method="detox",
        dpo=None,
        detox=detox,
        title="Detox: toy",
        rows_support=(),
        preset="quick",
    )
    return dataclasses.replace(made, **rest)


def detox_event(step: int, total: int = TOTAL, **changes: Any) -> DetoxEvent:
    """One step; reward rises and toxicity falls with it."""
    event = DetoxEvent(
        step=step,
        total=total,
        epoch=step / total,
        loss=0.1,
        reward=-1.0 + 0.5 * step,
        reward_sd=0.5,
        terms=(-1.0 + 0.5 * step,),
        toxicity=max(0.0, 0.6 - 0.07 * step),
        uncovered=0.0,
        kl=0.2 * step,
        length=20.0 + step,
        clipped=0.05,
        distinct=0.8,
        learning_rate=3e-3,
        grad_norm=1.0,
        elapsed=1.5 * step,
        eta=1.5 * (total - step),
    )
    return dataclasses.replace(event, **changes)


def transcript(step: int, prompt: str = "Why?", answer: str = "", **changes: Any) -> TranscriptEvent:
    """One fixed prompt answered."""
    scores: dict[str, Any] = {"reward": -1.0 + step / 4, "toxicity": 0.5 - step / 20, **changes}
    return TranscriptEvent(step, prompt, answer or f"answer at {step}", **scores)


def rude_share(**changes: Any) -> RudeShare:
    """Ten of forty before, one of forty after, by a scorer that was not the reward."""
    share = RudeShare("org/judge", "abcdef0123456789", "The judge", False, 10, 40, 1, 40, 8, 12, 1, 12)
    return dataclasses.replace(share, **changes)


def report(shares: Sequence[RudeShare] | None = None, **changes: Any) -> DetoxReport:
    """A report of a run that worked."""
    mine = rude_share(scorer="embedded", title="The reward", was_reward=True, before=12, after=0)
    figures = AnswerFigures(n=40, length=20.0, clipped=0.05, empty=0.0, distinct=0.8)
    made = DetoxReport(
        step=TOTAL,
        prompts=10,
        provoking=3,
        samples=4,
        shares=tuple([mine, rude_share()] if shares is None else shares),
        before=figures,
        after=dataclasses.replace(figures, length=24.0, distinct=0.7),
        kl=1.6,
        rewards_before=(-1.0,),
        rewards_after=(3.0,),
    )
    return dataclasses.replace(made, **changes)


def write_lines(path: Path, records: Sequence[Any]) -> None:
    """Append records as a worker does."""
    with open(path, "a", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(dataclasses.asdict(record), ensure_ascii=False) + "\n")


def scorer_terms(*names: str) -> tuple[RewardTerm, ...]:
    """Scorers with weights 1, 0.5, 0.25."""
    return tuple(RewardTerm(name, 0.5**at) for at, name in enumerate(names))
