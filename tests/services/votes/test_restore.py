"""Votes that left the studio come back the same, and hostile ones not at all."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from studio.domain.data import Message
from studio.domain.votes import Ballots
from studio.errors import InputError, NotFoundError
from studio.services.votes.export import ExportOptions, export_votes, export_zip
from studio.services.votes.read_export import read_votes
from studio.services.votes.restore import restore
from studio.services.votes.rows import judge_of, vote_rows
from tests.helpers.vote_files import LIMIT, jsonl, parquet
from tests.helpers.votes import rated, store


def same(one: Ballots, two: Ballots) -> None:
    """Pairs equal field by field; votes equal but for who cast them, who is the same pseudonym."""
    assert set(one.pairs) == set(two.pairs)
    judges = [{rater.id: judge_of(rater) for rater in ballots.raters} for ballots in (one, two)]
    votes = [
        {dataclasses.replace(vote, rater_id=names[vote.rater_id]) for vote in ballots.votes}
        for ballots, names in zip((one, two), judges, strict=True)
    ]
    assert votes[0] == votes[1]


def test_export_and_import_give_the_same_rows_again_and_again(tmp_path: Path) -> None:
    rating, ballots = rated(tmp_path / "here")
    rating.set_calibration([ballots.pairs[0].id], True)
    rating.retire([ballots.pairs[1].id], True)
    # a mind changed: the count of changes comes along
    ballots = rating.ballots()
    for format in ("jsonl", "parquet", "both"):
        out = tmp_path / f"out-{format}"
        export_votes(ballots, out, ExportOptions(format=format))  # type: ignore[arg-type]
        there = store(tmp_path / f"there-{format}")
        done = restore(there, read_votes(out, LIMIT))
        assert (done.pairs, done.votes, done.raters, done.changed) == (9, 27, 3, 0)
        same(ballots, there.ballots())
        # once more, and back into the store it came from: nothing new, nobody doubled
        for rating_again in (there, rating):
            again = restore(rating_again, read_votes(out, LIMIT))
            assert (again.pairs, again.votes, again.raters, again.changed, again.known) == (0, 0, 0, 0, 27)
        # what was imported exports to the very same rows
        export_votes(dataclasses.replace(there.ballots(), rules=ballots.rules), tmp_path / f"again-{format}")
        for config in ("votes", "pairs"):
            before = [jsonl, parquet][format == "parquet"](
                out / config / f"train.{'parquet' if format == 'parquet' else 'jsonl'}"
            )
            after = jsonl(tmp_path / f"again-{format}" / config / "train.jsonl")
            assert sorted(map(str, before)) == sorted(map(str, after))
    assert rating.progress(None) == there.progress(None)


def test_counts_of_votes_stay_right_when_an_import_changes_a_mind(tmp_path: Path) -> None:
    rating, ballots = rated(tmp_path / "here")
    export_votes(ballots, tmp_path / "old")
    rater = next(r for r in ballots.raters if r.name == "Ben")
    skipped = next(v for v in ballots.votes if v.rater_id == rater.id and v.choice == "skip")
    newer = dataclasses.replace(skipped, choice="1", updated=skipped.updated + 60)
    votes = tuple(newer if v is skipped else v for v in ballots.votes)
    export_votes(dataclasses.replace(ballots, votes=votes), tmp_path / "new")
    done = restore(rating, read_votes(tmp_path / "new", LIMIT))
    assert (done.votes, done.changed) == (0, 1)
    assert rating.progress(None).votes == 27  # 26 and a skip before
    back = restore(rating, read_votes(tmp_path / "old", LIMIT))
    assert (back.changed, back.known) == (0, 27)  # the older vote does not win


def test_hostile_exports_are_refused_whole(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    export_votes(ballots, tmp_path / "out", ExportOptions(format="jsonl"))
    votes, pairs = tmp_path / "out" / "votes" / "train.jsonl", tmp_path / "out" / "pairs" / "train.jsonl"
    sound = {votes: votes.read_text(), pairs: pairs.read_text()}
    there = store(tmp_path / "there")
    cases: list[tuple[Path, str, Any, str]] = [
        (votes, "choice", "3", "choice"),
        (votes, "left", 3, "left"),
        (votes, "judge", "Ada", "judge is 'Ada'"),
        (votes, "tstamp", float("nan"), "updated"),
        (votes, "changes", -1, "changes"),
        (votes, "question_id", "0" * 24, "none of the pairs"),
        (pairs, "prompt", "a\0b", "NUL"),
        (pairs, "answer_1", "\ud800", "surrogate"),
        (pairs, "answer_1", "x" * 200_000, "characters long"),
        (pairs, "created", float("inf"), "created"),
        (pairs, "history", [{"role": "root", "content": "x"}], "history"),
        (pairs, "origin_1", {"kind": "base", "label": "x", "seed": 2**70}, "seed"),
        (pairs, "origin_1", None, "origin_1"),
    ]
    for path, field, value, says in cases:
        rows = [json.loads(line) for line in sound[path].splitlines()]
        rows[1][field] = value
        path.write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(InputError, match=says):
            restore(there, read_votes(tmp_path / "out", LIMIT))
        path.write_text(sound[path])
    assert there.ballots().pairs == ()


def test_an_import_trusts_texts_and_not_ids(tmp_path: Path) -> None:
    """A file may name its pairs as it likes and hold their answers in any order; a vote stays with its answer."""
    _, ballots = rated(tmp_path / "here")
    export_votes(ballots, tmp_path / "out", ExportOptions(format="jsonl"))
    path = tmp_path / "out" / "pairs" / "train.jsonl"
    rows = jsonl(path)
    for row in rows:
        row["id"] = f"my-{row['id'][:5]}"
        for name in ("answer", "origin"):
            row[f"{name}_1"], row[f"{name}_2"] = row[f"{name}_2"], row[f"{name}_1"]
        row["preferred"] = {"1": "2", "2": "1"}.get(row["preferred"], "")
    path.write_text("\n".join(map(json.dumps, rows)))
    path = tmp_path / "out" / "votes" / "train.jsonl"
    rows = jsonl(path)
    for row in rows:
        row["question_id"] = f"my-{row['question_id'][:5]}"
        row["choice"] = {"1": "2", "2": "1"}.get(row["choice"], row["choice"])
        row["left"] = 3 - row["left"]
    path.write_text("\n".join(map(json.dumps, rows)))
    there = store(tmp_path / "there")
    restore(there, read_votes(tmp_path / "out", LIMIT))
    same(ballots, there.ballots())


def test_a_zip_comes_back_and_one_with_tricks_does_not(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    export_zip(ballots, tmp_path / "votes.zip", ExportOptions(format="parquet"))
    there = store(tmp_path / "there")
    restore(there, read_votes(tmp_path / "votes.zip", LIMIT))
    same(ballots, there.ballots())
    with zipfile.ZipFile(tmp_path / "votes.zip", "a") as archive:
        archive.writestr("votes/../../evil.txt", "x")
    with pytest.raises(InputError, match="leads out of its folder"):
        read_votes(tmp_path / "votes.zip", LIMIT)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export.json", b"0" * 3_000_000)
    with pytest.raises(InputError, match="more than"):
        read_votes(tmp_path / "bomb.zip", 2_000_000)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("hello.txt", "x")
    with pytest.raises(InputError, match=r"neither export\.json"):
        read_votes(tmp_path / "other.zip", LIMIT)
    (tmp_path / "no.zip").write_text("x")
    with pytest.raises(InputError, match="not a zip"):
        read_votes(tmp_path / "no.zip", LIMIT)
    with pytest.raises(NotFoundError):
        read_votes(tmp_path / "missing.zip", LIMIT)


# -- to the Hub -----------------------------------------------------------------------------------------------------------


def test_a_history_comes_back_with_its_roles(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    export_votes(ballots, tmp_path / "out")
    (pair,) = [pair for pair in read_votes(tmp_path / "out", LIMIT).ballots.pairs if pair.history]
    assert pair.history == (Message("user", "Hello"), Message("assistant", "Hi."))
    assert pair.system_prompt == "Be brief."
    assert len(vote_rows(ballots)) == 27
