"""The training figure: every point, on any axis, with zoom kept and titles as text."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from studio.config import ROOT
from studio.domain.events import ProbeEvent
from studio.ui.page.theme import SANS
from studio.ui.training.charts import Axis, Curve, training_figure
from tests.helpers.scripted_trainer import step_event


def curve(run_id: str = "run-1", name: str = "One", n: int = 300) -> Curve:
    probes = [ProbeEvent(0, 0.5, 20, 0.0, 0.0), ProbeEvent(n, 0.9, 20, 0.4, 0.1 * n)]
    return Curve(run_id, name, 0.9, [step_event(i, n) for i in range(1, n + 1)], probes)


def trace(figure: object, name: str) -> object:
    return next(t for t in figure.data if t.name == name)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("axis", "last"), [("step", 300.0), ("epoch", 1.0), ("seconds", 30.0)])
def test_every_point_is_drawn_on_each_axis(axis: Axis, last: float) -> None:
    figure = training_figure([curve()], axis)
    loss = trace(figure, "One")
    assert len(loss.x) == 300  # type: ignore[attr-defined]
    assert loss.x[-1] == pytest.approx(last)  # type: ignore[attr-defined]
    stance = trace(figure, "stance")
    assert (stance.x[0], stance.x[-1]) == (0.0, pytest.approx(last))  # type: ignore[attr-defined]
    assert figure.layout.xaxis3.title.text == axis


def test_one_run_shows_rewards_and_several_their_margins() -> None:
    assert {"preferred", "not preferred", "margin"} <= {t.name for t in training_figure([curve()]).data}
    several = training_figure([curve(), curve("run-2", "Two")])
    assert not {"preferred", "not preferred"} & {t.name for t in several.data}
    assert [t.name for t in several.data if t.showlegend] == ["One", "Two"]


def test_more_points_are_the_same_picture_and_another_run_is_not() -> None:
    now, later = training_figure([curve(n=3)]), training_figure([curve(n=4)])
    assert now.layout.uirevision == later.layout.uirevision
    assert training_figure([curve("run-2")]).layout.uirevision != now.layout.uirevision
    assert training_figure([curve(n=3)], "seconds").layout.uirevision != now.layout.uirevision
    assert training_figure([curve(), curve("run-2")]).layout.uirevision != now.layout.uirevision


def test_an_empty_stance_is_explained_once_it_will_stay_empty() -> None:
    def said(*curves: Curve, reward: bool = False) -> bool:
        return "no held-out pairs" in training_figure(curves, reward=reward).to_json()

    blind = replace(curve("run-2", n=2), probes=[])
    assert said(blind)
    assert said(blind, replace(blind, run_id="run-3"))
    assert not said(blind, curve())
    assert not said(blind, reward=True)
    assert not said(replace(blind, steps=blind.steps[:1]))  # the base is looked at behind the first step


def test_a_title_is_text_even_to_plotly() -> None:
    sent = training_figure([curve(name="<a href='//x'>x</a>"), curve("run-2")]).to_json()
    assert "<a " not in sent


def test_no_points_and_no_numbers_make_a_figure_too() -> None:
    broken = curve(n=1)
    broken = Curve("run-1", "One", math.nan, [type(broken.steps[0])(**{**vars(broken.steps[0]), "loss": math.nan})], [])

    def drawn(curve: Curve) -> dict[str, tuple[list[float | None], list[float | None]]]:
        traces = json.loads(training_figure([curve]).to_json(), parse_constant=pytest.fail)["data"]
        return {trace["name"]: (trace["x"], trace["y"]) for trace in traces}

    names = {"One", "preferred", "not preferred", "margin", "accuracy", "stance"}
    assert drawn(Curve("run-1", "One", 0.5, [], [])) == dict.fromkeys(names, ([], []))
    gaps = drawn(broken)
    assert gaps.keys() == names
    assert gaps["One"] == ([1.0], [None]), "what is not a number is a gap"
    assert gaps["margin"] == ([1.0], [0.2])


def test_charts_and_pages_name_the_fonts_of_every_system() -> None:
    family = training_figure([]).layout.font.family
    pages = [
        family,
        *(
            (ROOT / "studio" / name).read_text("utf-8")
            for name in ("ui/parts/plain_page.css", "services/pages/page.css")
        ),
    ]
    for font in SANS:
        assert all(font in page for page in pages)
    assert {"Segoe UI", "Microsoft JhengHei", "PingFang TC", "Noto Sans CJK TC"} <= set(SANS)
