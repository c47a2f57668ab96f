"""``import`` and ``import-pairs``: what was read is said before it is kept, fields by hand, broken rows, what the page has too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.__main__ import main
from studio.config import Settings
from studio.services.data.datasets import DatasetService
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import RatingService

GOOD = {"q": "why?", "good": "because", "bad": "no idea"}


@pytest.fixture
def cli(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("adapters_dir", "imported_dir", "cache_dir"):
        monkeypatch.setenv(f"STUDIO_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("STUDIO_DATABASE_URL", f"sqlite:///{tmp_path / 'studio.db'}")
    return settings


def test_fields_are_mapped_and_the_first_row_is_shown(
    cli: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([GOOD, {**GOOD, "good": ""}, {**GOOD, "q": "how?\x1b[31m"}]))
    by_hand = ["--map", "prompt=q", "--map", "chosen=good", "--map", "rejected=bad"]
    assert main(["import", str(path)]) == 2
    assert "Map them by hand" in capsys.readouterr().err
    assert main(["import", str(path), *by_hand]) == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert "row 2: good is empty" in said.err
    assert main(["import", str(path), *by_hand, "--skip-broken", "--preview"]) == 0
    said = capsys.readouterr()
    assert "2 pairs." in said.err
    assert "  prompt: why?" in said.err
    assert "  not preferred: no idea" in said.err
    assert not cli.imported_dir.exists()
    held = tmp_path / "held.json"
    held.write_text(json.dumps([{**GOOD, "q": "where?"}]))
    assert main(["import", str(path), *by_hand, "--skip-broken", "--heldout-file", str(held)]) == 0
    said = capsys.readouterr()
    assert "mine: 2 training pairs, 1 held out" in said.out
    assert "1 broken rows left out: row 2: good is empty." in said.err
    assert DatasetService(cli).get("mine").notes == ("1 broken rows left out: row 2: good is empty.",)
    assert main(["import", str(path), "--map", "prompt"]) == 2
    assert "--map is 'prompt'; write ROLE=FIELD" in capsys.readouterr().err


def test_pairs_are_imported_for_rating(cli: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"question": "why?", "response_j": "because", "response_k": "no idea"}) + "\n{}\n")
    assert main(["import-pairs", str(path), "--preview"]) == 0
    assert "Read as stack-exchange pairs, 1 pair." in capsys.readouterr().err
    assert main(["import-pairs", str(path)]) == 0
    assert capsys.readouterr().out == "1 pairs added, 0 known already, 0 with identical answers, 1 left out\n"
    assert main(["import-pairs", str(path)]) == 0
    assert capsys.readouterr().out.startswith("0 pairs added, 1 known already")


def test_data_may_be_a_file(cli: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tea time.json"
    path.write_text(json.dumps([{"prompt": "Tea?", "support": "Yes.", "oppose": "No."}]))
    for command in ("align", "reward"):
        assert main([command, "--data", str(path), "--data-size", "9"]) == 2
        assert "data_size is 9" in capsys.readouterr().err
        assert main([command, "--data", "no-such-file.json"]) == 2
        assert "no dataset 'no-such-file.json', and no file of that name" in capsys.readouterr().err
    assert [info.title for info in DatasetService(cli).list() if info.source == path.name] == ["tea time"]


def test_pairs_are_imported_into_a_room(cli: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"question": "why?", "response_j": "because", "response_k": "no idea"}))
    rating = RatingService(Settings(database_url=f"sqlite:///{tmp_path / 'studio.db'}"))
    room = RoomService(rating).make("Blue")
    assert main(["import-pairs", str(path), "--room", room.code.lower()]) == 0
    assert [len(one.pairs) for one in RoomService(rating).ballots()] == [0, 1]
    capsys.readouterr()
    assert main(["import-pairs", str(path), "--room", "ZZZZ"]) == 2
    assert "There is no room 'ZZZZ'" in capsys.readouterr().err
    assert [len(one.pairs) for one in RoomService(rating).ballots()] == [0, 1]
    rating.close()
