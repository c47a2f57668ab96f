"""``export-votes`` and ``import-votes``: from one store to another, and what they refuse in one line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.__main__ import main
from studio.config import Settings
from studio.domain.votes import Ballots
from studio.errors import InputError
from studio.services.rating.rooms import RoomService
from studio.services.reward.service import RewardForm, RewardService
from studio.services.votes.export import argilla_zip, export_zip
from tests.helpers.pairs import new_pairs, press_until_done
from tests.helpers.votes import rated, store

Use = Callable[[str], None]


@pytest.fixture
def use(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Makes the commands that follow work on the store of that name."""
    for name in ("adapters_dir", "imported_dir", "cache_dir"):
        monkeypatch.setenv(f"STUDIO_{name.upper()}", str(getattr(settings, name)))
    return lambda name: monkeypatch.setenv("STUDIO_DATABASE_URL", f"sqlite:///{tmp_path / name / 'studio.db'}")


@pytest.fixture
def ballots(tmp_path: Path) -> Ballots:
    """The store ``here``: nine pairs, 27 votes of three raters."""
    rating, ballots = rated(tmp_path / "here")
    rating.close()
    return ballots


def kept(folder: Path) -> Ballots:
    rating = store(folder)
    ballots = rating.ballots()
    rating.close()
    return ballots


def seen(ballots: Ballots) -> set[tuple[str, str, int]]:
    """What does not depend on who a rater is called elsewhere."""
    return {(vote.pair_id, vote.choice, vote.changes) for vote in ballots.votes}


def test_votes_go_from_one_store_to_another_and_nothing_comes_twice(
    ballots: Ballots, use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    use("here")
    assert main(["export-votes", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: 27 votes on 9 pairs; 6 preferences (")
    assert said.err == ""
    assert {path.name for path in out.iterdir()} >= {"README.md", "export.json", "votes", "pairs", "preference"}

    store(tmp_path / "there").close()
    use("there")
    assert main(["import-votes", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == "9 new pairs (0 known), 27 new votes of 3 new raters, 0 votes changed, 0 known\n"
    assert said.err.startswith("Read ")
    there = kept(tmp_path / "there")
    assert set(there.pairs) == set(ballots.pairs)
    assert seen(there) == seen(ballots)

    assert main(["import-votes", str(out)]) == 0
    assert capsys.readouterr().out == "0 new pairs (9 known), 0 new votes of 0 new raters, 0 votes changed, 27 known\n"
    assert len(kept(tmp_path / "there").votes) == 27


@pytest.mark.parametrize(("format", "endings"), [("jsonl", {"jsonl"}), ("parquet", {"parquet"})])
def test_the_format_names_and_licence_asked_for_are_written(
    ballots: Ballots, use: Use, tmp_path: Path, format: str, endings: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    use("here")
    assert main(["export-votes", "--out", str(out), "--format", format, "--license", "cc-by-4.0"]) == 0
    written = {path.suffix[1:] for path in (out / "pairs").iterdir()}
    assert written & {"jsonl", "parquet"} == endings
    assert 'license: "cc-by-4.0"' in (out / "README.md").read_text(encoding="utf-8")
    everything = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert "@Cäsar".encode() not in everything, "names only on request"
    assert main(["export-votes", "--out", str(out), "--format", "jsonl", "--names"]) == 0  # over a former export
    rows = [json.loads(line) for line in (out / "votes" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert any("@Cäsar" in map(str, row.values()) for row in rows)


@pytest.mark.parametrize("write", [export_zip, argilla_zip])
def test_a_zip_of_either_kind_is_taken_in(
    ballots: Ballots, use: Use, tmp_path: Path, write: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    write(ballots, tmp_path / "votes.zip")
    store(tmp_path / "there").close()
    use("there")
    assert main(["import-votes", str(tmp_path / "votes.zip")]) == 0
    assert "9 new pairs (0 known), 27 new votes of 3 new raters" in capsys.readouterr().out
    assert seen(kept(tmp_path / "there")) == {(v.pair_id, v.choice, 0) for v in ballots.votes}


def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    ballots: Ballots, use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use("here")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine", encoding="utf-8")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK nothing")
    for arguments, words in (
        (["export-votes"], "--out"),
        (["export-votes", "--out", str(full)], "thesis.txt"),
        (["export-votes", "--out", str(tmp_path / "new"), "--format", "xlsx"], "xlsx"),
        (["import-votes", str(tmp_path / "nothing")], "There is no file or folder"),
        (["import-votes", str(full)], "neither export.json"),
        (["import-votes", str(broken)], "broken.zip"),
    ):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = int(str(ended.code))
        said = capsys.readouterr()
        assert code == 2, arguments
        assert said.out == ""
        assert words in said.err
        assert len(said.err.strip().splitlines()) == 1, said.err
    assert [path.name for path in full.iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "new").exists()
    here = kept(tmp_path / "here")
    assert dataclasses.replace(here, rules=ballots.rules) == ballots


def test_a_reward_run_learns_from_the_votes_of_the_room_that_is_named(
    ballots: Ballots, use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rating = store(tmp_path / "here")
    code = RoomService(rating).make("Blue").code
    room = RoomService(rating).rating(code)
    room.set_rules(dataclasses.replace(room.rules(), min_votes=1))
    room.add_pairs(new_pairs(12))
    press_until_done(room, room.register("Anna")[0])
    rating.close()
    use("here")

    def start(service: RewardService, form: RewardForm) -> str:
        assert len(service.preview(form).tallies) == 12
        raise InputError(f"It would learn from {form.room}.")

    monkeypatch.setattr(RewardService, "start", start)
    assert main(["reward", "--data", "votes", "--base", "embedded", "--room", code.lower()]) == 2
    assert f"It would learn from {code}." in capsys.readouterr().err
    assert main(["reward", "--data", "votes", "--base", "embedded", "--room", "ZZZZ"]) == 2
    assert "There is no room 'ZZZZ'" in capsys.readouterr().err


def test_votes_of_one_room_are_written_and_taken_into_another(
    ballots: Ballots, use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rating = store(tmp_path / "here")
    rooms = RoomService(rating)
    blue, green = rooms.make("Blue").code, rooms.make("Green").code
    rooms.rating(blue).add_pairs(new_pairs(2))
    press_until_done(rooms.rating(blue), rooms.rating(blue).register("Anna")[0])
    rating.close()
    use("here")
    out = tmp_path / "out"
    assert main(["export-votes", "--out", str(out), "--room", blue.lower()]) == 0
    assert "votes on 2 pairs" in capsys.readouterr().out
    assert main(["export-votes", "--out", str(tmp_path / "main")]) == 0
    assert "27 votes on 9 pairs" in capsys.readouterr().out
    assert main(["import-votes", str(out), "--room", green]) == 0
    assert "2 new pairs (0 known)" in capsys.readouterr().out
    rating = store(tmp_path / "here")
    rooms = RoomService(rating)
    assert [len(one.pairs) for one in rooms.ballots()] == [9, 2, 2]
    choices = [sorted(vote.choice for vote in rooms.rating(code).ballots().votes) for code in (blue, green)]
    assert choices[0] == choices[1]
    rating.close()
    for command in (["export-votes", "--out", str(tmp_path / "no")], ["import-votes", str(out)]):
        assert main([*command, "--room", "ZZZZ"]) == 2
        assert "There is no room 'ZZZZ'" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
