"""The command ``sweep`` against a scripted trainer."""

from __future__ import annotations

import json

import pytest

from studio.__main__ import main
from studio.config import Settings
from studio.services.runs.store import RunStore
from tests.helpers.runs import command_environment, scripted

SWEEP = ["sweep", "--base", "embedded", "--data", "live-action-en", "--data-size", "6", "--system-prompt", "steps=2"]


@pytest.fixture
def cli(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in command_environment(settings).items():
        if name.startswith("STUDIO_"):
            monkeypatch.setenv(name, value)
    return settings


def test_the_last_line_holds_the_points(cli: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(cli):
        assert main([*SWEEP, "--ratios", "0,1", "--seeds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(p["ratio"], p["seed"], p["share"], p["n"]) for p in found["points"]] == [
        (0, 42, 0.9, 18),
        (1, 42, 0.9, 18),
        (0, 43, 0.9, 18),
        (1, 43, 0.9, 18),
    ]
    assert found["base"] is None
    assert found["seconds"] >= 0
    assert sorted(p["run"] for p in found["points"]) == sorted(RunStore(cli).ids())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--ratios", "0,abc"], "--ratios is '0,abc'"),
        (["--ratios", "0,nan"], "support_ratio is nan"),
        (["--ratios", "0,1e9"], "support_ratio is 1000000000.0"),
        (["--data-sizes", "5,5.5"], "whole numbers"),
        (["--betas", "0.1"], "this one 1"),
        (["--losses", "sigmoid,magic"], "loss_type is 'magic'"),
        (["--seeds", "0"], "seeds is 0"),
    ],
)
def test_a_bad_value_is_one_sentence(
    cli: Settings, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SWEEP, *flags]) == 2
    assert words in capsys.readouterr().err
    assert RunStore(cli).ids() == []
