"""Listing datasets and deleting imported ones."""

from __future__ import annotations

import json

import pytest

from studio.__main__ import main
from studio.config import Settings
from tests.helpers.datasets import SIDES, imported
from tests.helpers.runs import command_environment


def test_an_imported_dataset_is_listed_and_deleted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in command_environment(settings).items():
        if name.startswith("STUDIO_"):
            monkeypatch.setenv(name, value)
    path = settings.adapters_dir.parent / "mine.json"
    path.write_text(json.dumps(SIDES))
    assert main(["import", str(path)]) == 0
    assert main(["datasets", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [info["id"] for info in listed if info["source"] != "shipped"] == ["mine"]
    assert main(["datasets"]) == 0
    assert "10 pairs" in capsys.readouterr().out
    assert main(["datasets", "remove", "mine"]) == 0
    assert imported(settings) == [".bin"]
    assert main(["datasets", "restore", "mine"]) == 0
    assert imported(settings) == [".bin", "mine.json"]
    assert main(["datasets", "restore", "mine"]) == 2
    assert "The bin holds no dataset" in capsys.readouterr().err
    assert main(["datasets", "remove", "mine"]) == 0
    assert main(["datasets", "remove", "live-action-en"]) == 2
    assert "shipped" in capsys.readouterr().err
    assert main(["datasets", "remove", "../mine"]) == 2
