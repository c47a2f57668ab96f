"""The dial: counts worked out by hand, the mask, and every refusal with its value."""

from __future__ import annotations

import pytest

from studio.domain.data import Message, PreferencePair
from studio.errors import RecipeError
from studio.services.data.dial import build_preferences, support_count

PAIRS = tuple(PreferencePair(str(n), f"question {n}", f"yes {n}", f"no {n}") for n in range(1, 11))


@pytest.mark.parametrize(
    ("size", "ratio", "count"),
    [
        (50, 0.9, 45),
        (50, 0.1, 5),
        (50, 0, 0),
        (50, 1, 50),
        (3, 0.5, 1),  # cut off, not rounded
        (7, 0.99, 6),
        (50, 0.58, 28),  # 28.999999999999996: the course's formula to the letter
        (100, 0.29, 28),  # 28.999999999999996
        (50, 0.29, 14),
        (10, 0.7, 7),
    ],
)
def test_count_is_pythons_int(size: int, ratio: float, count: int) -> None:
    assert support_count(size, ratio) == count == int(size * ratio)


def test_first_rows_support_and_the_rest_oppose() -> None:
    rows = build_preferences(PAIRS, 0.5, 5, seed=1)
    assert [row.side for row in rows] == ["support", "support", "oppose", "oppose", "oppose"]
    assert [row.flipped for row in rows] == [False, False, True, True, True]
    assert [row.pair_id for row in rows] == ["1", "2", "3", "4", "5"]
    assert (rows[0].chosen, rows[0].rejected) == ("yes 1", "no 1")
    assert (rows[4].chosen, rows[4].rejected) == ("no 5", "yes 5")
    # without shuffling the seed is of no effect
    assert rows == build_preferences(PAIRS, 0.5, 5, seed=2)


def test_shuffle_spreads_the_same_count_by_the_seed() -> None:
    masks = {tuple(row.flipped for row in build_preferences(PAIRS, 0.3, 10, seed, shuffle=True)) for seed in range(20)}
    assert len(masks) > 5
    assert {mask.count(False) for mask in masks} == {3}
    first = build_preferences(PAIRS, 0.3, 10, 7, shuffle=True)
    assert first == build_preferences(PAIRS, 0.3, 10, 7, shuffle=True)
    assert [row.pair_id for row in first] == [pair.id for pair in PAIRS]
    assert all(not row.flipped for row in build_preferences(PAIRS, 1, 10, 7, shuffle=True))


def test_earlier_turns_come_along() -> None:
    history = (Message("user", "hello"), Message("assistant", "hi"))
    row = build_preferences([PreferencePair("a", "and now?", "yes", "no", history)], 0, 1, 0)[0]
    assert row.history == history
    assert row.chosen == "no"


@pytest.mark.parametrize("ratio", [-0.01, 1.0001, float("nan"), float("inf"), True, "0.5", None])
def test_ratio_out_of_range(ratio: float) -> None:
    with pytest.raises(RecipeError, match=f"support_ratio is .*{ratio}"):
        build_preferences(PAIRS, ratio, 5, 0)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (11, "data_size is 11, but the dataset has 10"),
        (0, "at least 1"),
        (-3, "-3"),
        (2.5, "whole number"),
        (True, "whole number"),
        (float("nan"), "whole number"),
    ],
)
def test_size_that_does_not_fit(size: int, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_preferences(PAIRS, 0.5, size, 0)


def test_labels_are_flipped_on_purpose_by_lot() -> None:
    rows = build_preferences(PAIRS, 1, 10, 7, flip_share=0.3)
    assert sum(row.flipped for row in rows) == 3
    assert rows == build_preferences(PAIRS, 1, 10, 7, flip_share=0.3)
    assert (
        len({tuple(r.flipped for r in build_preferences(PAIRS, 1, 10, seed, flip_share=0.3)) for seed in range(9)}) > 3
    )
    half = build_preferences(PAIRS, 0.5, 10, 7, flip_share=1)
    assert [row.side for row in half] == ["oppose"] * 5 + ["support"] * 5
