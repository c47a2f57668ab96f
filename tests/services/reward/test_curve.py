"""The learning curve: parts of the pairs, and what is said of the last step."""

from __future__ import annotations

import pytest

from studio.domain.data import PreferenceRow
from studio.services.reward.curve import CurvePoint, more_votes, part_of
from studio.services.statistics.intervals import wilson


def rows(support: int, oppose: int) -> list[PreferenceRow]:
    sides = ["support"] * support + ["oppose"] * oppose
    return [PreferenceRow(str(i), f"p{i}", "a", "b", side=side, flipped=False) for i, side in enumerate(sides)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("support", "oppose"), [(40, 0), (30, 10), (29, 31), (20, 20)])
def test_smaller_parts_lie_within_larger_ones_and_keep_the_side_that_is_preferred(support: int, oppose: int) -> None:
    whole = rows(support, oppose)
    quarter, half = part_of(whole, 0.25, 7), part_of(whole, 0.5, 7)
    assert set(quarter) < set(half) < set(whole)
    assert list(half) == sorted(half, key=lambda row: int(row.pair_id))
    assert abs(len(quarter) - len(whole) / 4) <= 1
    for part in (quarter, half):
        mostly = 2 * sum(row.side == "support" for row in part) >= len(part)
        assert mostly == (2 * support >= support + oppose)


def point(count: int, right: list[bool]) -> CurvePoint:
    ends = wilson(sum(right), len(right))
    assert ends is not None
    return CurvePoint(f"r{count}", count, sum(right), len(right), ends.low, ends.high, 0.5, tuple(right))


def test_whether_more_votes_help_is_said_only_where_the_same_pairs_show_it() -> None:
    half = [True] * 50 + [False] * 50
    assert more_votes([point(50, half), point(100, [True] * 70 + [False] * 30)]).startswith(
        "More votes are likely to help"
    )
    assert more_votes([point(50, half), point(100, half)]).startswith("More votes of this kind are not likely to help")
    # ten pairs gained and six lost of a hundred: worked by hand: 4 / 102 and 1.96 * sqrt(17 / 102 - 16 / 102 ** 2) / sqrt(102)
    turned = [False] * 6 + [True] * 44 + [True] * 10 + [False] * 40
    said = more_votes([point(50, half), point(100, turned)])
    assert said.startswith("Not decided whether more votes help")
    assert "+4.0 points, 95 % interval −4.0 to +11.8" in said
