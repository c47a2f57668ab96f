"""``python -m studio detox``: flags to a form, progress to stderr, the result last on stdout, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio import __main__ as entry
from studio.config import Settings
from studio.domain.detox import RewardTerm
from studio.domain.events import AnswerFigures, DetoxEvent, DetoxReport, RudeShare
from studio.services import build_services
from studio.services.detox import service as detox
from studio.services.detox.service import DetoxForm
from studio.services.files.records import LineWriter
from studio.services.runs.status import read_status, write_status

STEP = DetoxEvent(4, 4, 0.1, 0.0, 1.5, 0.5, (1.5,), 0.1, 0.0, 2.0, 20.0, 0.0, 0.9, 1e-3, 1.0, 3.0, 0.0)
REPORT = DetoxReport(
    4,
    30,
    10,
    2,
    (
        RudeShare("embedded", "abc", "Embedded", True, 20, 60, 0, 60, 15, 20, 0, 20),
        RudeShare("org/judge", "def", "Judge", False, 18, 60, 1, 60, 14, 20, 1, 20),
    ),
    AnswerFigures(60, 20.0, 0.0, 0.0, 0.9),
    AnswerFigures(60, 22.0, 0.0, 0.0, 0.9),
    2.5,
    (-1.0,),
    (2.0,),
)


@pytest.fixture
def forms(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[DetoxForm]:
    """The command line over this test's settings; a run that is queued is carried out at once, by script. The forms asked for."""
    asked: list[DetoxForm] = []
    services = build_services(settings)
    start = services.detox.start
    state = "done"

    def scripted(form: DetoxForm) -> Any:
        asked.append(form)
        view = start(form)
        writer = LineWriter(view.folder / "events.jsonl")
        for event in (STEP, REPORT):
            writer.write(event)
        ended = "failed" if "fail" in form.title else state
        message = "The scorer embedded failed." if ended == "failed" else ""
        write_status(view.folder, replace(read_status(view.folder), state=ended, message=message, step=4, total=4))
        return services.runs.get(view.run_id)

    monkeypatch.setattr(detox, "ensure_trainer", lambda settings: None)
    monkeypatch.setattr("studio.services.align.service.ensure_trainer", lambda settings: None)
    monkeypatch.setattr(services.detox, "start", scripted)
    monkeypatch.setattr(entry, "build_services", lambda settings: services)
    return asked


def test_json_is_the_last_line_and_flags_reach_the_form(
    forms: list[DetoxForm], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    code = entry.main(
        [
            *(
                "detox",
                "--data",
                "live-action-en",
                "--reward",
                "embedded=2",
                "--steps",
                "4",
                "--beta",
                "0.2",
                "--rank",
                "4",
            ),
            *("--algorithm", "grpo", "--no-load-in-4bit", "--judge", "", "--title", "Mine", "--json"),
        ]
    )
    out = capsys.readouterr()
    assert code == 0
    (form,) = forms
    assert form.detox.rewards == (RewardTerm("embedded", 2.0),)
    assert (form.detox.steps, form.detox.beta, form.lora.rank, form.detox.algorithm) == (4, 0.2, 4, "grpo")
    assert (form.judge, form.title, form.preset) == ("", "Mine", "quick")
    found = json.loads(out.out.splitlines()[-1])
    assert Path(found["folder"]).parent == settings.adapters_dir
    assert found["kl"] == 2.0
    assert found["report"]["rude"][1]["after"]["k"] == 1
    assert "Ctrl-C" in out.err


def test_prompts_come_from_a_file_of_ones_own(
    forms: list[DetoxForm], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("prompt\nSay red!\nSay tea!\n")
    assert entry.main(["detox", "--prompt-file", str(file), "--judge", ""]) == 0
    (form,) = forms
    assert (form.prompt_file, [prompt.text for prompt in form.own_prompts]) == ("mine.csv", ["Say red!", "Say tea!"])
    assert form.detox.prompt_file == ""  # the service's to record
    assert entry.main(["detox", "--prompt-file", str(tmp_path / "none.txt")]) == 2
    assert "There is no file" in capsys.readouterr().err


def test_in_words_it_says_who_judged(forms: list[DetoxForm], capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["detox", "--data", "live-action-en"]) == 0
    said = capsys.readouterr().out
    assert "reward +1.50, toxicity 0.10, KL 2.00" in said
    assert "rude answers by embedded (the reward): 20 of 60" in said
    assert "by org/judge (not the reward): 18 of 60" in said
    assert forms[0].judge == "auto"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data", "live-action-en", "--reward", "embedded=much"], "--reward is 'embedded=much'"),
        (["--data", "live-action-en", "--generations", "1"], "generations is 1"),
        ([], "no prompts to train on"),
        (["--data", "live-action-en", "--preset", "slow"], "preset is 'slow'"),
        (["--data", "live-action-en", "--title", "fail"], "failed: The scorer embedded failed"),
    ],
)
def test_what_a_person_can_mend_is_one_line_and_code_2(
    forms: list[DetoxForm], capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert entry.main(["detox", *flags]) == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert said in complaint


def test_detox_runs_are_listed(forms: list[DetoxForm], capsys: pytest.CaptureFixture[str]) -> None:
    entry.main(["detox", "--data", "live-action-en", "--title", "Mine"])
    capsys.readouterr()
    assert entry.main(["runs"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "Mine" in line)
    assert "detox" in line
    assert "ratio -" in line
    assert entry.main(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert next(run for run in listed if run["title"] == "Mine")["support_ratio"] is None
