"""Votes leave the studio whole, and for the Hub."""

from __future__ import annotations

import csv
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from studio.config import Settings
from studio.errors import ConflictError, InputError, NotFoundError, StudioError
from studio.services.data.datasets import DatasetService
from studio.services.data.prompt_key import normalised
from studio.services.votes.export import FILES, ExportOptions, argilla_zip, export_votes, export_zip, push_votes
from tests.helpers.vote_files import jsonl, parquet
from tests.helpers.votes import HOSTILE, rated, store


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
