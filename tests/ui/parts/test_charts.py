"""Charts in the page's language: titles, axes, legends, notes, and what is said where they are pointed at."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from studio.domain.evaluations import EvaluationRow
from studio.domain.events import RewardReport
from studio.domain.toxicity import ScorerInfo, TextScore
from studio.i18n import speaking
from studio.services.reward.best_of import BestOfCurve, BestOfPoint, Mean
from studio.services.reward.curve import CurvePoint
from studio.services.statistics.bradley_terry import Group, Rating, Standings
from studio.services.statistics.intervals import Interval
from studio.services.votes.quality import RaterShare
from studio.services.votes.statistics import Player
from studio.ui.detox.charts import detox_figure
from studio.ui.evaluations import charts as evaluations
from studio.ui.page.languages import translated_figure
from studio.ui.reward import view as reward
from studio.ui.reward.best_of_box import best_of_figure
from studio.ui.training.charts import Curve, training_figure
from studio.ui.votes import charts as votes
from tests.helpers.detox_records import detox_event
from tests.helpers.scripted_trainer import step_event

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: What is no English sentence: names from outside, units, codes.
_KEPT = {"nat", "gram", "KL", "UTC", "n", "b", "br", "extra"}
_NAME = "名"


def _curve(**more: Any) -> Curve:
    steps = [step_event(number, 4) for number in range(1, 5)]
    return Curve("run", _NAME, 0.9, steps, [], **more)


def _report() -> RewardReport:
    return RewardReport(9, 20, 15, 0, 0.5, 0.9, 0.5, 0.4, (1.0, -0.5), ((0.8, 0.9, 20),), 0)


def _standings() -> tuple[Standings, dict[str, Player]]:
    group = Group((Rating("a", 1050, Interval(1000, 1100)), Rating("b", 950, None)), 9, 3, 0)
    return Standings((group, group), ()), {name: Player(name, _NAME) for name in "ab"}


def _best_of() -> BestOfCurve:
    mean = Mean(0.5, Interval(0.4, 0.6))
    judge = ScorerInfo("judge", "Judge", "1", "", (), (), "")
    return BestOfCurve("run", "base", judge, 4, (BestOfPoint(1, 0.0, mean, mean, mean),), mean)


def _row(before: float, after: float) -> EvaluationRow:
    first, second = (TextScore(value, -value, (), "") for value in (before, after))
    return EvaluationRow("run", "p", 0, "?", "!", "!", first, second)


CHARTS: dict[str, Callable[[], Figure | None]] = {
    "run": lambda: training_figure([_curve()]),
    "runs": lambda: training_figure([_curve(), replace(_curve(), run_id="other")], "seconds"),
    "reward run": lambda: training_figure([_curve()], "epoch", reward=True),
    "detox": lambda: detox_figure(
        [Curve("run", _NAME, 0.5, [], [], [detox_event(1, terms=(1.0, 2.0))], (_NAME, _NAME))]
    ),
    "margins": lambda: reward.margin_figure(_report()),
    "calibration": lambda: reward.calibration_figure(_report()),
    "learning": lambda: reward.learning_figure([CurvePoint("run", 9, 5, 10, 0.3, 0.7, 0.5, (True,))]),
    "best of n": lambda: best_of_figure(_best_of()),
    "toxicity": lambda: evaluations.toxicity_figure([_row(0.5, 0.1), _row(0.4, 0.2)], {"run": _NAME}),
    "rewards": lambda: evaluations.reward_figure([_row(0.5, 0.1), _row(0.4, 0.2)], {"run": _NAME}),
    "ratings": lambda: votes.rating_figure(*_standings()),
    "times": lambda: votes.time_figure([1.0, 2.0]),
    "raters": lambda: votes.rater_figure([RaterShare("r", _NAME, 4, 1, 2.0, 0, 3, 4)], {"r": _NAME}),
    "paces": lambda: votes.pace_figure([0.5, 3.0]),
}


def _said(node: Any, key: str = "") -> Iterator[str]:
    """What a figure says anywhere."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _said(value, name)
    elif isinstance(node, list):
        for one in node:
            yield from _said(one, key)
    elif isinstance(node, str) and key in ("text", "name", "hovertemplate", "customdata", "ticktext"):
        yield node


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_says_nothing_in_another_language(name: str) -> None:
    with speaking("zh-Hant"):
        figure = CHARTS[name]()
        assert figure is not None
        texts = list(_said(json.loads(translated_figure(figure.to_json()))))
    assert any(re.search(r"[\u4e00-\u9fff]", text) for text in texts)
    for text in texts:
        words = set(re.findall(r"[A-Za-z]+", re.sub(r"%\{[^}]*\}", "", text)))
        assert words <= _KEPT, text
