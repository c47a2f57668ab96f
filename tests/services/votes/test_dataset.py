"""Decided votes become data to train on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from studio.config import Settings
from studio.errors import DatasetError
from studio.services.data.datasets import DatasetService
from studio.services.data.prompt_key import normalised
from studio.services.rating.rules import decide
from studio.services.votes.dataset import (
    heldout_prompts,
    keep_votes_as_dataset,
    left_out,
    new_decided_since,
    preference_dataset,
)
from studio.services.votes.export import export_votes
from studio.services.votes.read_export import read_votes
from studio.services.votes.restore import restore
from tests.helpers.vote_files import LIMIT
from tests.helpers.votes import cast, new_pair, rated, store


def test_decided_votes_become_a_dataset_that_stays_what_it_was(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here", pairs=30)
    datasets = DatasetService(Settings(imported_dir=tmp_path / "imported"))
    made = keep_votes_as_dataset(datasets, preference_dataset(ballots))
    assert made.kind == "labels"
    assert made.title.startswith("Votes, 20")
    assert made.title.endswith(", 28 pairs")
    assert made.source.startswith("votes:")
    assert len(made.pairs) + len(made.heldout) == 28
    assert {pair.id for pair in (*made.pairs, *made.heldout)} <= {pair.id for pair in ballots.pairs}
    assert all(pair.support.startswith("A good answer") for pair in made.pairs)
    (spoken,) = [pair for pair in (*made.pairs, *made.heldout) if pair.history]
    assert [turn.role for turn in spoken.history] == ["system", "user", "assistant"]
    # as another process reads it
    read = DatasetService(Settings(imported_dir=tmp_path / "imported")).get(made.id)
    assert read == made
    assert keep_votes_as_dataset(datasets, preference_dataset(ballots)) == made  # the same votes are kept once
    assert preference_dataset(ballots).content_hash == made.content_hash


def test_texts_that_look_like_transcripts_stay_as_they_are(tmp_path: Path) -> None:
    rating = store(tmp_path / "here")
    rating.set_rules(dataclasses.replace(rating.rules(), min_votes=1))
    text = "Assistant: Yes.\n\nHuman: Really?\n\nAssistant: No."
    ids = rating.add_pairs(
        [new_pair(1, "Human: who?", answer_a=f"  {text} ", answer_b="Assistant: Never."), new_pair(2)]
    ).ids
    first = rating.ballots().pairs[0]
    cast(rating, rating.register("Ada")[0], {ids[0]: "1" if first.answer_1.strip() == text else "2", ids[1]: "1"})
    settings = Settings(imported_dir=tmp_path / "imported")
    made = keep_votes_as_dataset(DatasetService(settings), preference_dataset(rating.ballots()))
    read = DatasetService(settings).get(made.id)
    assert read == made
    (pair,) = [pair for pair in read.pairs if pair.id == ids[0]]
    assert (pair.prompt, pair.support, pair.history) == ("Human: who?", text, ())


def test_a_prompt_stays_on_its_side_of_the_split(tmp_path: Path) -> None:
    few = [f"prompt {n}" for n in range(60)]
    aside = heldout_prompts(few)
    assert heldout_prompts(few[::-1]) == aside
    assert 12 <= len(aside) <= 22  # a fifth of 60, or what the hashes say where that is more
    more = heldout_prompts([*few, *(f"other {n}" for n in range(60))])
    assert len(aside - more) <= 3  # only who topped the first set up may change sides
    for n in range(3, 40):
        assert len(heldout_prompts([f"prompt {i}" for i in range(n)])) >= round(0.2 * n)
    assert heldout_prompts(["one"]) == frozenset()
    rating, ballots = rated(tmp_path / "here", pairs=30)
    twin = new_pair(99, "  QUESTION  3? ", system_prompt="Another one.")
    (twin_id,) = rating.add_pairs([twin]).ids
    for rater in ballots.raters:
        cast(rating, rater, {twin_id: "1"})
    data = preference_dataset(rating.ballots())
    parts = [{normalised(pair.prompt) for pair in part} for part in (data.pairs, data.heldout)]
    assert not parts[0] & parts[1]


def test_what_was_left_out_is_counted_and_nothing_decided_is_said(tmp_path: Path) -> None:
    rating = store(tmp_path / "here")
    rating.add_pairs([new_pair(1)])
    with pytest.raises(DatasetError, match="None of the 1 pairs"):
        preference_dataset(rating.ballots())
    report = export_votes(rating.ballots(), tmp_path / "out")
    assert (report.votes, report.pairs, report.train, report.left_out.too_few) == (0, 1, 0, 1)
    assert not (tmp_path / "out" / "preference").exists()
    assert restore(store(tmp_path / "there"), read_votes(tmp_path / "out", LIMIT)).pairs == 1
    assert str(left_out(rating.decisions(), 3)) == "1 with too few votes"


def test_new_decisions_since_a_run_are_counted(tmp_path: Path) -> None:
    rating, ballots = rated(tmp_path / "here", pairs=12)
    decisions = decide(ballots)
    used = preference_dataset(ballots)
    assert new_decided_since(None, decisions) == 10
    assert new_decided_since(used, decisions) == 0  # held-out pairs are no news either
    (fresh,) = rating.add_pairs([new_pair(77)]).ids
    for rater in ballots.raters:
        cast(rating, rater, {fresh: "1"})
    assert new_decided_since(used, rating.decisions()) == 1
    won = next(d for d in decisions if d.winner)
    turned = dataclasses.replace(won, winner="2" if won.winner == "1" else "1")
    assert new_decided_since(used, [turned if d is won else d for d in decisions]) == 1
