"""The report of a reward run, worked by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from studio.domain.data import PreferenceRow
from studio.domain.events import ProbeEvent
from studio.ml.reward.report import calibration, longer_share, majority_share, make_report
from studio.services.reward.reading import read_reward
from tests.helpers.scripted_trainer import step_event


def row(side: Any, chosen: str, rejected: str) -> PreferenceRow:
    return PreferenceRow("x", "p", chosen, rejected, side, side == "oppose")


def test_the_report_against_figures_worked_by_hand() -> None:
    # Nine pairs, five right, one tie: TRL at batch 4 would say (2/4 + 3/4 + 0/1) / 3 = .4167, the truth is 5/9.
    margins = [1.0, 2.0, -1.0, 0.0, 3.0, 0.5, 0.1, -2.0, -0.3]
    heldout = [row("support", "aaa", "b")] * 4 + [row("oppose", "a", "bb")] * 3 + [row("oppose", "aa", "bb")] * 2
    training = [row("support", "a", "b")] * 3 + [row("oppose", "a", "b")] * 2
    report = make_report(7, margins, heldout, training, True, 2)
    assert (report.step, report.n, report.hits, report.ties, report.dropped) == (7, 9, 5, 1, 2)
    # Wilson by hand: p = 5/9, z = 1.96: centre .5390, half .2776
    assert report.low == pytest.approx(0.2667, abs=1e-4)
    assert report.high == pytest.approx(0.8112, abs=1e-4)
    assert report.majority == pytest.approx(4 / 9)  # support was chosen more often in training
    assert report.longer == pytest.approx((4 + 0 + 2 * 0.5) / 9)
    assert not report.learned
    assert make_report(7, margins, heldout, training, False, 0).majority == 0.5
    assert majority_share(training[1:], heldout) == majority_share(training[2:-1], heldout) == 0.5
    assert majority_share(training[2:], heldout) == pytest.approx(5 / 9)


def test_calibration_against_figures_worked_by_hand() -> None:
    logit = {p: math.log(p / (1 - p)) for p in (0.55, 0.58, 0.75, 0.95, 0.99)}
    margins = [logit[0.55], -logit[0.58], 0.0, logit[0.75], logit[0.95], logit[0.99], -logit[0.95]]
    found = calibration(margins)
    assert [n for _, _, n in found] == [3, 1, 3]
    assert [p for p, _, _ in found] == pytest.approx([(0.55 + 0.58 + 0.5) / 3, 0.75, (0.95 + 0.99 + 0.95) / 3])
    assert [right for _, right, _ in found] == pytest.approx([1.5 / 3, 1.0, 2 / 3])
    assert calibration([900.0, -900.0]) == ((1.0, 0.5, 2),)
    assert calibration([]) == ()


def test_learning_is_claimed_above_both_baselines_only() -> None:
    right = [1.0] * 40
    short = [row("support", "a", "bb")] * 40
    assert make_report(1, right, short, [row("oppose", "a", "b")], True, 0).learned
    assert not make_report(1, right, short, [row("support", "a", "b")], True, 0).learned  # so does "always support"
    assert not make_report(1, right, [row("support", "aa", "b")] * 40, [], False, 0).learned  # so does "the longer one"
    assert make_report(1, [1.0] * 26 + [-1.0] * 14, short, [], False, 0).low < 0.5
    assert not make_report(1, [], [], [], True, 0).learned
    assert math.isnan(longer_share([]))


@pytest.mark.parametrize(
    ("accuracy", "share", "n", "by_heart"),
    [(0.9, 0.0, 1, True), (0.53, 0.0, 1, False), (0.95, 0.6, 20, True), (0.75, 0.5, 20, True), (0.75, 0.5, 8, False)],
)
def test_learning_by_heart_is_said_where_chance_does_not_explain_it(
    accuracy: float, share: float, n: int, by_heart: bool
) -> None:
    steps = [dataclasses.replace(step_event(step, 5), accuracy=accuracy) for step in range(1, 6)]
    said = read_reward(steps, [ProbeEvent(5, share, n, 0.1, 1.0)])
    assert any("by heart" in sentence for sentence in said) is by_heart
    assert f"On {n} held-out pair{'s' if n > 1 else ''} the" in said[1]
