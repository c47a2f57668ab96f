"""Votes leave the studio whole and come back the same."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from vote_helpers import HOSTILE, cast, new_pair, rated, store

from studio.config import Settings
from studio.domain import Message
from studio.errors import ConflictError, DatasetError, InputError, NotFoundError, StudioError
from studio.services.datasets import DatasetService
from studio.services.decisions import decide
from studio.services.imports import normalised
from studio.services.vote_dataset import (
    heldout_prompts,
    keep_votes_as_dataset,
    left_out,
    new_decided_since,
    preference_dataset,
)
from studio.services.vote_export import FILES, ExportOptions, argilla_zip, export_votes, export_zip, push_votes
from studio.services.vote_import import read_votes
from studio.services.vote_restore import restore
from studio.services.vote_rows import judge_of, vote_rows
from studio.votes import Ballots

LIMIT = 50_000_000


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()


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


def test_votes_carry_the_columns_of_the_arena_and_the_left_side_is_a(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    export_votes(ballots, tmp_path / "out", ExportOptions(names=True))
    rows = jsonl(tmp_path / "out" / "votes" / "train.jsonl")
    assert rows == parquet(tmp_path / "out" / "votes" / "train.parquet")
    arena = {"question_id", "model_a", "model_b", "winner", "judge", "turn", "anony", "conversation_a", "tstamp"}
    assert arena < set(rows[0])
    assert {row["winner"] for row in rows} == {"model_a", "model_b", "tie", "tie (bothbad)", None}
    pairs = {pair.id: pair for pair in ballots.pairs}
    for row in rows:
        pair = pairs[row["question_id"]]
        answer_a = (pair.answer_1, pair.answer_2)[row["left"] - 1]
        assert row["conversation_a"][-1] == {"role": "assistant", "content": answer_a}
        assert row["skipped"] == (row["winner"] is None) == (row["choice"] == "skip")
        if row["choice"] in ("1", "2"):
            assert row["winner"] == ("model_a" if int(row["choice"]) == row["left"] else "model_b")
    longest = max(rows, key=lambda row: row["turn"])
    assert [turn["role"] for turn in longest["conversation_a"]] == ["system", "user", "assistant", "user", "assistant"]
    assert longest["turn"] == 2
    assert {row["judge_name"] for row in rows} == {"Ada", "Ben", "@Cäsar"}


def test_names_and_ids_of_raters_stay_at_home(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    export_zip(ballots, tmp_path / "votes.zip")
    argilla_zip(ballots, tmp_path / "argilla.zip")
    for path in (tmp_path / "votes.zip", tmp_path / "argilla.zip"):
        with zipfile.ZipFile(path) as archive:
            text = b"".join(archive.read(name) for name in archive.namelist())
        for rater in ballots.raters:
            assert rater.id.encode() not in text
            assert rater.name.encode() not in text


def test_the_votes_csv_is_defused(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    export_votes(ballots, tmp_path / "out", ExportOptions(names=True))
    with open(tmp_path / "out" / "votes" / "votes.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 27
    assert {row["judge_name"] for row in rows} == {"Ada", "Ben", "'@Cäsar"}
    texts = [row[key] for row in rows for key in ("answer_a", "answer_b")]
    assert any(text.startswith(f"'{HOSTILE}") for text in texts)
    assert not any(text.startswith("=") for text in texts)


def test_preferences_are_trl_conversations_of_decided_pairs_split_by_prompt(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here", pairs=40)
    report = export_votes(ballots, tmp_path / "out")
    train, test = (jsonl(tmp_path / "out" / "preference" / f"{split}.jsonl") for split in ("train", "test"))
    assert test == parquet(tmp_path / "out" / "preference" / "test.parquet")
    assert (len(train), len(test)) == (report.train, report.test)
    assert len(train) + len(test) == 38  # 41 pairs: one of ties, one both bad, one with too few votes
    assert (report.left_out.no_majority, report.left_out.too_few, report.left_out.empty) == (2, 1, 0)
    assert 0 < len(test) < 16
    for row in (*train, *test):
        assert row["prompt"][-1]["role"] == "user"
        assert [turn["role"] for turn in row["chosen"] + row["rejected"]] == ["assistant", "assistant"]
        assert row["chosen"][0]["content"].startswith("A good answer")
        assert row["votes_chosen"] * 2 > row["votes"] == 3
        assert row["model_chosen"] == "Kind"
    prompts = [{normalised(row["prompt"][-1]["content"]) for row in rows} for rows in (train, test)]
    assert not prompts[0] & prompts[1]
    # the studio's own importer and TRL's checks take them as they are
    from trl.data_utils import is_conversational

    assert is_conversational(train[0])
    done = DatasetService(Settings(imported_dir=tmp_path / "imported")).import_file(
        tmp_path / "out" / "preference" / "train.jsonl"
    )
    assert [pair.support for pair in done.dataset.pairs] == [row["chosen"][0]["content"].strip() for row in train]


def test_datasets_loads_every_config_of_the_card(tmp_path: Path) -> None:
    import datasets

    _, ballots = rated(tmp_path / "here")
    for format, count in (("both", 27), ("jsonl", 27)):
        out = tmp_path / format
        report = export_votes(ballots, out, ExportOptions(format=format))  # type: ignore[arg-type]
        head = yaml.safe_load((out / "README.md").read_text(encoding="utf-8").split("---\n")[1])
        assert head["license"] == "unknown"
        assert [config["config_name"] for config in head["configs"]] == ["votes", "pairs", "preference"]
        options: dict[str, Any] = {"cache_dir": str(tmp_path / f"cache-{format}")}
        assert len(datasets.load_dataset(str(out), "votes", split="train", **options)) == count
        assert len(datasets.load_dataset(str(out), "pairs", split="train", **options)) == 9
        assert len(datasets.load_dataset(str(out), split="train", **options)) == report.train


def test_the_card_says_how_far_to_trust_them(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    export_votes(ballots, tmp_path / "out", ExportOptions(licence="cc-by-4.0"))
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    # worked by hand: 27 votes, one of them a skip; of the 26 two ties and three both bad
    for said in (
        "**Raters:** 3",
        "**Votes:** 26, and 1 skip (no opinion)",
        "**Overlap:** 2.89 votes per pair on average (from 2 to 3, 9 pairs); 3 wanted",
        "**Tie rate:** 7.7% ties and 11.5% “both bad” of 26 votes",
        "**Decided:** 6 of 9 pairs",
        "3 of 9 pairs: 1 with too few votes, 2 without a majority",
        "**temperature 0.8, top-p 0.95, at most tokens 64:** 18 answers",
        "`cc-by-4.0`",
        "````markdown\nBe fair.\n```\n# Not a head\n```\n````",
    ):
        assert said in card
    import krippendorff

    codes = {"1": 0, "2": 1, "tie": 2, "both_bad": 3}
    ids, raters = [pair.id for pair in ballots.pairs], [rater.id for rater in ballots.raters]
    table = [[float("nan")] * len(ids) for _ in raters]
    for vote in ballots.votes:
        if vote.choice != "skip":
            table[raters.index(vote.rater_id)][ids.index(vote.pair_id)] = codes[vote.choice]
    alpha = krippendorff.alpha(reliability_data=table, level_of_measurement="nominal")
    assert f"Krippendorff's alpha {alpha:.3f} (nominal" in card  # too few pairs for an interval


def test_a_folder_that_is_no_export_is_left_alone(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    out = tmp_path / "out"
    export_votes(ballots, out)
    export_votes(ballots, out, ExportOptions(format="jsonl"))  # a former export is replaced
    assert not (out / "votes" / "train.parquet").exists()
    assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} <= FILES
    (out / "votes" / "thesis.docx").write_text("mine")
    with pytest.raises(ConflictError, match=r"votes/thesis.docx"):
        export_votes(ballots, out)
    assert (out / "votes" / "thesis.docx").read_text() == "mine"
    for name in ("file", "link"):
        (tmp_path / "file").write_text("x") if name == "file" else (tmp_path / "link").symlink_to(out)
        with pytest.raises(ConflictError, match="not a folder"):
            export_votes(ballots, tmp_path / name)
    with pytest.raises(NotFoundError, match="no folder"):
        export_votes(ballots, tmp_path / "nowhere" / "out")
    with pytest.raises(NotFoundError, match="no pairs"):
        export_votes(store(tmp_path / "empty").ballots(), tmp_path / "new")
    with pytest.raises(InputError, match="format is 'xls'"):
        export_votes(ballots, tmp_path / "new", ExportOptions(format="xls"))  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_an_export_that_fails_leaves_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ballots = rated(tmp_path / "here")
    out = tmp_path / "out"
    export_votes(ballots, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def full(fd: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ConflictError, match="disk is full"):
            export_votes(ballots, out)
    rename = Path.rename
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", lambda self, to: full(0) if self.name == "new" else rename(self, to))
        with pytest.raises(ConflictError, match="disk is full"):
            export_votes(ballots, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


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


# -- to train on --------------------------------------------------------------------------------------------------------


def test_decided_votes_become_a_dataset_that_stays_what_it_was(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here", pairs=30)
    datasets = DatasetService(Settings(imported_dir=tmp_path / "imported"))
    made = keep_votes_as_dataset(datasets, ballots)
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
    assert keep_votes_as_dataset(datasets, ballots) == made  # the same votes are kept once
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
    made = keep_votes_as_dataset(DatasetService(settings), rating.ballots())
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


# -- to the Hub -----------------------------------------------------------------------------------------------------------


class FakeHub:
    def __init__(self, private: bool = True, error: Exception | None = None) -> None:
        self.private, self.error = private, error
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytes] = {}

    def create_repo(self, repo_id: str, **options: Any) -> Any:
        self.calls.append(("create_repo", {"repo_id": repo_id, **options}))
        if self.error:
            raise self.error
        return SimpleNamespace(repo_id=f"me/{repo_id}")

    def repo_info(self, repo_id: str, **options: Any) -> Any:
        return SimpleNamespace(private=self.private)

    def upload_folder(self, *, folder_path: str, **options: Any) -> Any:
        self.calls.append(("upload_folder", options))
        for path in Path(folder_path).rglob("*"):
            if path.is_file():
                self.files[path.relative_to(folder_path).as_posix()] = path.read_bytes()


def test_a_push_is_private_by_default_and_forgets_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, ballots = rated(tmp_path / "here")
    hub, tokens = FakeHub(), []

    def client(token: str) -> FakeHub:
        tokens.append(token)
        return hub

    push_votes(ballots, " votes ", " hf_secret ", client=client)
    assert tokens == ["hf_secret"]
    assert hub.calls[0] == (
        "create_repo",
        {"repo_id": "votes", "repo_type": "dataset", "private": True, "exist_ok": True},
    )
    assert hub.calls[1][1]["repo_id"] == "me/votes"
    assert hub.calls[1][1]["repo_type"] == "dataset"
    assert set(hub.files) == FILES
    assert b"hf_secret" not in b"".join(hub.files.values())
    public = FakeHub(private=False)
    with pytest.raises(ConflictError, match="is public"):
        push_votes(ballots, "votes", "hf_secret", client=lambda token: public)
    assert public.files == {}
    push_votes(ballots, "votes", "hf_secret", private=False, client=lambda token: public)
    assert public.files
    with pytest.raises(StudioError, match="could not be reached") as caught:
        push_votes(ballots, "votes", "hf_secret", client=lambda token: FakeHub(error=RuntimeError("hf_secret")))
    assert caught.value.__cause__ is None
    assert "hf_secret" not in str(caught.value) + caplog.text
    for repo, token in (("a/b/c", "hf_secret"), ("votes", " ")):
        with pytest.raises(InputError):
            push_votes(ballots, repo, token, client=client)


def test_a_history_comes_back_with_its_roles(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    export_votes(ballots, tmp_path / "out")
    (pair,) = [pair for pair in read_votes(tmp_path / "out", LIMIT).ballots.pairs if pair.history]
    assert pair.history == (Message("user", "Hello"), Message("assistant", "Hi."))
    assert pair.system_prompt == "Be brief."
    assert len(vote_rows(ballots)) == 27
