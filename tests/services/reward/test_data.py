"""Which rows a reward run trains on and which it keeps aside."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from typing import Any

import pytest

from studio.domain.data import PreferenceDataset, PreferencePair
from studio.errors import RecipeError
from studio.services.reward.data import TableRow, gather, run_rows, table, to_dataset
from studio.services.reward.service import RewardForm

pytestmark = pytest.mark.timeout(900)


def dataset(pairs: int, kind: Any = "sides", heldout: int = 0, stem: str = "p") -> PreferenceDataset:
    def pair(i: int) -> PreferencePair:
        return PreferencePair(f"{stem}{i}", f"Question {stem} {i}?", f"Yes {stem} {i}.", f"No {stem} {i}.")

    return PreferenceDataset(
        id=stem,
        title=stem,
        kind=kind,
        language="en",
        pairs=tuple(pair(i) for i in range(pairs)),
        heldout=tuple(pair(i) for i in range(pairs, pairs + heldout)),
        test_prompts=(),
        content_hash="0" * 64,
        source="test",
    )


def prompts(rows: Any) -> set[str]:
    return {row.prompt for row in rows}


# -- which rows ---------------------------------------------------------------------------------------------------------


def test_a_dataset_without_held_out_pairs_is_split_by_prompt() -> None:
    made = gather(None, dataset(20), 0.75, 20, 1)
    assert (len(made.rows), len(made.heldout)) == (16, 4)
    assert not prompts(made.rows) & prompts(made.heldout)
    assert sum(row.side == "support" for row in made.rows) == 12
    assert to_dataset(made).content_hash != "0" * 64  # the hash of what is really used
    assert gather(None, dataset(20), 0.75, 20, 2).heldout == made.heldout  # another seed is measured on the same pairs


def test_the_dial_turns_training_rows_and_held_out_rows_follow_the_majority_of_sides_only() -> None:
    sides = gather(None, dataset(10, heldout=3), 0.2, 10, 1)
    assert [row.side for row in sides.heldout] == ["oppose"] * 3
    assert sides.heldout[0].chosen.startswith("No")
    labels = gather(None, dataset(10, "labels", heldout=3), 0.2, 10, 1)
    assert all(row.chosen.startswith("Yes") for row in labels.heldout)
    assert sum(row.flipped for row in labels.rows) == 8


def test_votes_and_a_dataset_share_no_prompt_across_the_split_and_the_dial_leaves_votes_alone() -> None:
    votes = dataset(10, "labels", heldout=2, stem="v")
    data = dataset(20, "sides", stem="d")
    data = replace(
        data,
        pairs=(
            *data.pairs[:18],
            replace(data.pairs[18], prompt=f"  {votes.heldout[0].prompt.upper()} "),  # held out among the votes
            replace(votes.pairs[0], id="again"),  # the same pair once more
        ),
    )
    made = gather(votes, data, 0.25, 20, 1)
    assert made.doubled == 1
    assert made.dataset.kind == "labels"
    assert not {p.casefold().strip() for p in prompts(made.rows)} & {
        p.casefold().strip() for p in prompts(made.heldout)
    }
    voted = [row for row in made.rows if row.pair_id.startswith("v")]
    assert len(voted) == 10
    assert not any(row.flipped for row in voted)
    rest = made.rows[10:]
    assert sum(row.side == "support" for row in rest) == int(len(rest) * 0.25)
    # most rows of the dataset oppose, so its held-out pairs are turned round; those of the votes stand as voted
    assert {row.chosen.split()[0] for row in made.heldout if row.pair_id.startswith("d")} == {"No"}
    assert {row.chosen.split()[0] for row in made.heldout if row.pair_id.startswith("v")} == {"Yes"}
    # and the worker finds the same rows from what the run keeps
    supports = [row.side == "support" for row in made.rows]
    assert run_rows(to_dataset(made), [row.pair_id for row in made.rows], supports) == (made.rows, made.heldout)


def test_the_table_shows_the_first_and_last_rows_of_many_and_where_each_is_from() -> None:
    votes, data = dataset(3, "labels", heldout=2, stem="v"), dataset(10, heldout=6, stem="d")
    made = gather(votes, data, 0.5, 10, 1)
    whole = table(made, {f"v{number}": f"{number}:1" for number in range(5)}, "Films", 100)
    assert tuple(line.row for line in whole if not line.heldout) == made.rows
    assert tuple(line.row for line in whole if line.heldout) == made.heldout
    assert [(line.number, line.source) for line in whole[2:4]] == [(3, "votes 2:1"), (4, "Films")]
    assert next(line for line in whole if line.row.pair_id == "v3") == TableRow(1, made.heldout[0], "votes 3:1", True)
    # 13 training rows, 8 held-out ones: of 12 places a quarter goes to these, the other 9 to the first 5 and the last 4
    part = table(made, {}, "Films", 12)
    assert [line.number for line in part] == [1, 2, 3, 4, 5, 10, 11, 12, 13, 1, 2, 3]
    assert [line.heldout for line in part] == [False] * 9 + [True] * 3
    few = gather(None, dataset(2, heldout=20), 1.0, 2, 1)
    assert [line.number for line in table(few, {}, "Films", 12)] == [1, 2, *range(1, 11)]


def test_pairs_of_one_prompt_are_all_trained_on() -> None:
    data = dataset(3)
    made = gather(None, replace(data, pairs=tuple(replace(p, prompt="Same?") for p in data.pairs)), 1.0, 3, 1)
    assert (len(made.rows), made.heldout) == (3, ())


@pytest.mark.parametrize(
    ("votes", "data", "ratio", "size", "said"),
    [
        (None, None, 1.0, 1, "choose the votes, a dataset, or both"),
        (None, dataset(5), 1.0, 6, "data_size is 6"),
        (None, dataset(5), 1.0, 0, "data_size is 0"),
        (None, dataset(5), math.nan, 5, "support_ratio is nan"),
        (dataset(5, "labels"), None, 1.5, 0, "support_ratio is 1.5"),
    ],
)
def test_data_that_does_not_do_is_named(votes: Any, data: Any, ratio: float, size: int, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        gather(votes, data, ratio, size, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"center_rewards": -1.0}, "center_rewards is -1.0"),
        ({"epochs": math.nan}, "epochs is nan"),
        ({"max_length": 3}, "max_length is 3"),
    ],
)
def test_a_setting_out_of_range_is_named(change: dict[str, float], said: str) -> None:
    form = RewardForm.from_preset("embedded", "embedded")
    changed = dataclasses.replace(form.settings, **change)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=said):
        replace(form, settings=changed).check()
