"""Pairs that people write: what a draft takes, and what it becomes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from studio.config import Settings
from studio.domain.data import Message, PreferencePair
from studio.errors import InputError
from studio.services.data.datasets import DatasetService
from studio.services.data.own_pairs import (
    MAX_CHARACTERS,
    MAX_ROWS,
    OwnPair,
    added,
    as_dataset,
    changed,
    draft_of,
    dropped,
    flipped,
    restored,
    stored,
)

ONE, TWO = OwnPair("Tea?", "Yes, tea.", "No tea."), OwnPair("Rain?", "It will rain.", "It stays dry.")


def test_rows_are_added_changed_flipped_and_deleted() -> None:
    draft = added(added((), ONE), OwnPair(" Rain? ", "It will rain.", "It stays dry.\n"))
    assert draft == (ONE, TWO)
    assert changed(draft, 0, TWO) == (TWO, TWO)
    assert flipped(draft, 1) == (ONE, OwnPair("Rain?", "It stays dry.", "It will rain."))
    assert dropped(draft, 0) == (TWO,)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (OwnPair("", "a", "b"), "Prompt is empty"),
        (OwnPair("p", " ", "b"), "Preferred is empty"),
        (OwnPair("p", "a", ""), "Not preferred is empty"),
        (OwnPair("p", "a", "x" * (MAX_CHARACTERS + 1)), "Not preferred is 8,001 characters long"),
        (OwnPair("p", "the  same", "the same "), "same answer"),
        (OwnPair("p", "a\0", "b"), "Preferred holds a NUL"),
    ],
)
def test_what_is_no_pair_is_refused_by_its_field(pair: OwnPair, words: str) -> None:
    with pytest.raises(InputError, match=words):
        added((), pair)


@pytest.mark.parametrize("at", [None, -1, 1])
def test_a_row_that_is_not_there(at: int | None) -> None:
    for act in (flipped, dropped):
        with pytest.raises(InputError, match="No row is chosen"):
            act((ONE,), at)


def test_a_draft_is_bounded() -> None:
    with pytest.raises(InputError, match=f"There are {MAX_ROWS} pairs"):
        added((ONE,) * MAX_ROWS, TWO)


def test_what_a_browser_kept_is_checked() -> None:
    assert restored(json.loads(json.dumps(stored((ONE, TWO), "tea")))) == ((ONE, TWO), "tea")
    for bad in (
        None,
        [],
        {"rows": "x", "like": ""},
        {"rows": [["a", "b"]], "like": ""},
        {"rows": [[1, "a", "b"]], "like": ""},
    ):
        assert restored(bad) == ((), "")


def test_a_draft_of_data_is_kept_like_it_without_what_is_trained_on(settings: Settings) -> None:
    service = DatasetService(settings)
    data = service.get("live-action-en")
    draft, left_out = draft_of(data, 5)
    assert (len(draft), left_out) == (5, 0)
    draft = changed(draft, 0, OwnPair(data.heldout[0].prompt.upper(), "Yes.", "No."))
    mine = service.keep(as_dataset(draft, "  My  version ", data))
    assert (mine.title, mine.kind, mine.language, len(mine.pairs)) == ("My version", data.kind, data.language, 5)
    assert mine.heldout == data.heldout[1:]
    assert data.heldout[0].prompt not in mine.test_prompts
    assert service.get(mine.id) == mine
    alone = service.keep(as_dataset((ONE,), "Tea", None))
    assert (alone.kind, alone.pairs[0].support) == ("labels", "Yes, tea.")
    for rows, title, words in (((), "Tea", "no pairs yet"), ((ONE,), " ", "Title is empty")):
        with pytest.raises(InputError, match=words):
            as_dataset(rows, title, None)


def test_pairs_with_earlier_turns_do_not_fit_into_a_draft(settings: Settings) -> None:
    data = DatasetService(settings).get("live-action-en")
    turns = (Message("user", "Hello"), Message("assistant", "Hi"))
    pairs = (PreferencePair("1", "Tea?", "Yes.", "No.", turns), *data.pairs[:2])
    draft, left_out = draft_of(replace(data, pairs=pairs), 3)
    assert (len(draft), left_out) == (2, 1)
