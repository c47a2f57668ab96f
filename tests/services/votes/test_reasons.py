"""Reasons of votes are counted, and go out and in with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from studio.domain.votes import Ballots
from studio.errors import InputError
from studio.services.votes import reading
from studio.services.votes.export import export_votes
from studio.services.votes.read_export import read_votes
from studio.services.votes.statistics import report
from tests.helpers.votes import rated


@pytest.fixture
def ballots(tmp_path: Path) -> Ballots:
    rating, ballots = rated(tmp_path / "here")
    rating.close()
    first, second, *others = (vote for vote in ballots.votes if vote.choice != "skip")
    votes = (replace(first, reasons=("truthful",)), replace(second, reasons=("helpful", "truthful")), *others)
    return replace(ballots, votes=votes)


def test_reasons_are_counted(ballots: Ballots) -> None:
    assert reading.read_reasons(report(ballots).reasons) == "Reasons given with votes: truthful 2, helpful 1."
    assert reading.read_reasons({}) == ""


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_reasons_go_out_and_in(ballots: Ballots, tmp_path: Path, kind: str) -> None:
    export_votes(ballots, tmp_path / "out")
    (tmp_path / "out" / "votes" / f"train.{'parquet' if kind == 'jsonl' else 'jsonl'}").unlink()
    back = read_votes(tmp_path / "out", 10**8).ballots
    assert sorted(vote.reasons for vote in back.votes) == sorted(vote.reasons for vote in ballots.votes)


def test_an_export_without_reasons_keeps_loading_and_unknown_ones_are_refused(ballots: Ballots, tmp_path: Path) -> None:
    export_votes(ballots, tmp_path / "out")
    votes = tmp_path / "out" / "votes" / "train.jsonl"
    whole = votes.read_text(encoding="utf-8")
    votes.write_text(whole.replace('"helpful, truthful"', '"nice"'), encoding="utf-8")
    with pytest.raises(InputError, match="reasons"):
        read_votes(tmp_path / "out", 10**8)
    old = whole
    for value in ("helpful, truthful", "truthful", ""):
        old = old.replace(f', "reasons": "{value}"', "")
    assert "reasons" not in old
    votes.write_text(old, encoding="utf-8")
    assert {vote.reasons for vote in read_votes(tmp_path / "out", 10**8).ballots.votes} == {()}
