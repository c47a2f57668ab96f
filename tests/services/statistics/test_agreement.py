"""How far raters agree: Krippendorff's alpha against its published example and the krippendorff package."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from studio.domain.votes import Choice
from studio.services.statistics.agreement import measure_agreement
from tests.helpers.ballots import BASE, RED, Box


def rated(*units: str) -> Box:
    """A pair for each unit; its letters are votes by different raters: 1, 2, t(ie), b(oth bad), s(kip)."""
    said: dict[str, Choice] = {"1": "1", "2": "2", "t": "tie", "b": "both_bad", "s": "skip"}
    box = Box()
    for unit in units:
        pair = box.pair(RED, BASE)
        for letter in unit:
            box.vote(pair, said[letter])
    return box


def test_alpha_of_krippendorffs_published_example() -> None:
    """Krippendorff (2011), "Computing Krippendorff's alpha-reliability", A: two observers, ten units, binary: .095.
    By hand: 4 of 10 units disagree, the values occur 14 and 6 times: 1 - 19 * 4 / (14 * 6)."""
    meg, owen = "0100000010", "1110010000"
    said = {"0": "1", "1": "2"}
    found = measure_agreement(rated(*(said[a] + said[b] for a, b in zip(meg, owen, strict=True))).votes)
    assert found.alpha == pytest.approx(1 - 19 * 4 / (14 * 6))
    assert found.alpha == pytest.approx(0.095, abs=5e-4)
    assert (found.pairs, found.votes, found.raters, found.agreeing, found.couples) == (10, 20, 2, 6, 10)
    assert found.raw == pytest.approx(0.6)
    assert found.interval is not None
    assert found.interval.low < 0.095 < found.interval.high


def test_alpha_with_four_values_and_missing_votes() -> None:
    """The worked example of Wikipedia's article: 15 units, 3 coders, missing values, nominal: .691. A unit with one vote
    counts for nothing, and neither does a skip."""
    coders = ("*****34121133*3", "1*213343*******", "**21344*21133*4")
    said = {"1": "1", "2": "2", "3": "t", "4": "b", "*": "s"}
    units = ["".join(said[coder[n]] for coder in coders) for n in range(15)]
    found = measure_agreement(rated(*units).votes)
    assert found.alpha == pytest.approx(0.691358, abs=1e-6)
    assert (found.pairs, found.votes) == (12, 26)
    agreeing = sum(a == b for unit in units for a, b in itertools.combinations(unit.replace("s", ""), 2))
    couples = sum(math.comb(len(unit.replace("s", "")), 2) for unit in units)
    assert (found.agreeing, found.couples) == (agreeing, couples)


def test_alphas_interval_is_that_of_a_plain_bootstrap() -> None:
    import krippendorff

    rng = np.random.default_rng(2)
    units = ["".join(rng.choice(list("12tb"), p=[0.7, 0.15, 0.1, 0.05] if n % 2 else [0.2, 0.6, 0.1, 0.1], size=3)) for n in range(60)]  # fmt: skip
    table = np.array([[unit.count(letter) for letter in "12tb"] for unit in units])
    found = measure_agreement(rated(*units).votes)
    drawn = [
        krippendorff.alpha(value_counts=table[rng.integers(60, size=60)], level_of_measurement="nominal")
        for _ in range(1500)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.interval is not None
    # ours is the expanded one: a little wider
    assert found.interval.low == pytest.approx(low, abs=0.02)
    assert found.interval.high == pytest.approx(high, abs=0.02)


def test_agreement_that_cannot_be_measured_says_so() -> None:
    nobody = measure_agreement(rated("1", "2", "1s").votes)
    assert (nobody.alpha, nobody.raw, nobody.pairs) == (None, None, 0)
    assert "nothing to compare" in nobody.reading
    same = measure_agreement(rated(*["111"] * 10).votes)
    assert (same.alpha, same.interval, same.raw) == (None, None, 1.0)
    assert "not defined" in same.reading
    perfect = measure_agreement(rated(*["111"] * 10, *["222"] * 10).votes)
    assert (perfect.alpha, perfect.interval) == (1.0, None)
    few = measure_agreement(rated("11", "12", "22").votes)
    assert few.alpha is not None
    assert few.interval is None


def test_agreement_does_not_depend_on_sides() -> None:
    box = rated("11", "22", "12", "2t", "11", "22")
    turned = [dataclasses.replace(vote, left=1 if vote.left == 2 else 2) for vote in box.votes]
    assert measure_agreement(turned) == measure_agreement(box.votes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (["11"] * 20 + ["22"] * 20, "reliable"),
        (["11"] * 20 + ["22"] * 20 + ["12"] * 5, "tentative"),
        (["11"] * 20 + ["22"] * 20 + ["12"] * 20, "below"),
        (["12"] * 20, "no better than chance"),
    ],
)
def test_alpha_is_read_by_its_conventions(units: list[str], words: str) -> None:
    assert words in measure_agreement(rated(*units).votes).reading
