"""``python -m studio score``: its last line is the JSON that was promised, its numbers are the service's, bad input is one sentence."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest

from studio.__main__ import main
from studio.config import ROOT, Settings
from studio.domain.toxicity import NOT_COVERED, ScorerInfo, TextScore
from studio.ml.scorers.classifier import ClassifierScorer
from studio.services.scoring.score_files import score_csv, score_json, score_records
from studio.services.scoring.service import TextScores
from tests.helpers.runs import command_environment
from tests.helpers.scorers import COMMIT, classifier_spec, make_classifier, put_in_cache

NAME = "facebook/roberta-hate-speech-dynabench-r4-target"
HATE = ("nothate", "hate")
KEYS = ["text", "toxicity", "logits", "label"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("hate") / "model", HATE)


@pytest.fixture
def cli(settings: Settings, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings that commands run in this process see, with one classifier downloaded; a folder to write into."""
    own = dataclasses.replace(settings, models_dir=tmp_path / "models")
    for name, value in command_environment(own).items():
        if name.startswith("STUDIO_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    put_in_cache(tmp_path / "hub", NAME, model)
    return tmp_path


def write(folder: Path, data: bytes | str) -> str:
    path = folder / "lines.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def test_the_last_line_is_the_promised_json(cli: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["stone", "Live <b>雲</b>\u2028lamp\x0c!", " silver ", "river " * 300]
    file = write(cli, "\ufeff" + "\r\n".join([texts[0], "", texts[1], " \t", texts[2], texts[3]]) + "\n")
    assert main(["score", file, "--scorer", NAME, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert [one["text"] for one in found] == texts
    assert all(list(one) == KEYS for one in found)
    direct = ClassifierScorer(classifier_spec(model, HATE, "hate"), device="cpu").score(texts)
    assert [one["toxicity"] for one in found] == pytest.approx([score.toxicity for score in direct], abs=1e-5)
    assert [one["label"] for one in found] == [score.label for score in direct]
    assert all(len(one["logits"]) == 2 for one in found)
    assert "2 blank lines were left out" in err


def test_without_a_scorer_named_the_embedded_one_scores_and_torch_stays_out(settings: Settings, tmp_path: Path) -> None:
    file = write(tmp_path, "You are a stupid idiot & nobody likes you.\nThe museum opens at nine in the morning.\n")
    code = (
        "import sys; from studio.__main__ import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "score", file, "--json"],
        cwd=ROOT,
        env=command_environment(settings),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rude, kind = json.loads(done.stdout.splitlines()[-1])
    assert list(rude) == KEYS
    assert rude["toxicity"] > 0.5 > kind["toxicity"]


def test_standard_input_and_the_table(
    cli: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"stone\n\n\x1b[31mlamp " + b"river " * 300)))
    assert main(["score", "-", "--scorer", NAME]) == 0
    head, first, second, mean, who = capsys.readouterr().out.splitlines()
    assert head.split() == ["line", "toxicity", "reward", "label", "text"]
    assert first.split()[0] == "1"
    assert second.split()[0] == "3"  # the file's line, blank ones counted
    assert "\x1b" not in second
    assert "tokens left out" in second
    assert "of 2" in mean
    assert f"{NAME} (revision {COMMIT})" in who


@pytest.mark.parametrize(
    ("data", "arguments", "words"),
    [
        ("", [], "has no text in it"),
        (" \n\n", [], "has no text in it"),
        (b"caf\xe9\n", [], "not UTF-8 text (byte 4)"),
        ("stone\n" + "x" * 100_001, [], "Line 2 has 100,001 characters; at most 100,000"),
        ("stone", ["--scorer", "unitary/toxic-bert"], "unitary/toxic-bert is not on this machine yet"),
        ("stone", ["--scorer", "unitary/toxic-bert", "--download"], "could not be downloaded"),
        ("stone", ["--scorer", f"{NAME}#rude"], "has no label 'rude'; its labels are nothate, hate"),
        ("stone", ["--scorer", "nonsense"], "'nonsense' is not a scorer"),
        ("stone", ["--scorer", "run:none"], "Line 1 is not a prompt, a tab and an answer"),
        ("stone\tlamp", ["--scorer", "run:none"], "none"),
        ("stone\tlamp\na\t ", ["--scorer", "run:none"], "Line 2 is empty"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    cli: Path, data: str | bytes, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", write(cli, data), *(arguments or ["--scorer", NAME]), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_file_of_any_length_is_scored_in_blocks(cli: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"Good morning, number {n}." for n in range(4_001)]
    file = write(cli, "\n".join(texts))
    assert main(["score", file, "--scorer", "word-list", "--jsonl"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["text"] for line in out.splitlines()] == texts
    assert "4001/4001" in err  # the progress
    assert main(["score", file, "--scorer", "word-list", "--json"]) == 0
    assert [one["text"] for one in json.loads(capsys.readouterr().out)] == texts
    assert main(["score", file, "--scorer", "word-list", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["text"] for row in rows] == texts
    assert {row["scorer"] for row in rows} == {"word-list"}


def test_a_fault_late_in_a_file_is_told_before_anything_is_written(
    cli: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(cli, b"fine\n" * 2_500 + b"caf\xe9\n")
    assert main(["score", file, "--scorer", "word-list", "--jsonl"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "not UTF-8 text (byte 12504)" in err


@pytest.mark.parametrize(("scorer", "method"), [("embedded", "exact"), ("word-list", "left out"), (NAME, "left out")])
def test_why_names_the_words(cli: Path, scorer: str, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(cli, "You are such an idiot today.\nstone <b>lamp</b>\n")
    assert main(["score", file, "--scorer", scorer, "--why", "--json"]) == 0
    rude = json.loads(capsys.readouterr().out)[0]
    assert list(rude) == [*KEYS, "why"]
    assert rude["why"]["method"] == method
    if scorer != NAME:
        heaviest = max(rude["why"]["words"], key=lambda word: word["weight"])
        assert heaviest["word"].strip(".") == "idiot"
        assert heaviest["weight"] > 0
    assert main(["score", file, "--scorer", scorer, "--why"]) == 0
    if scorer != NAME:
        assert "[idiot +" in capsys.readouterr().out


def test_a_file_that_is_not_there(cli: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "/no/such/file", "--json"]) == 2
    assert capsys.readouterr().err.strip() == "There is no file /no/such/file."
    assert main(["score", str(cli)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def some_scores() -> TextScores:
    info = ScorerInfo("org/m", "classifier", "M", "abc", "it measures", (), ("ok", "bad"), "bad")
    scores = (TextScore(0.25, 1.5, (1.5, 0.4), "ok", 3), NOT_COVERED)
    return TextScores(info, ("=SUM(A1)", "שלום\nworld"), scores)


def test_records_csv_and_json_say_who_scored_and_keep_gaps_empty() -> None:
    found = some_scores()
    assert score_records(found) == [
        {"text": "=SUM(A1)", "toxicity": 0.25, "logits": [1.5, 0.4], "label": "ok"},
        {"text": "שלום\nworld", "toxicity": None, "logits": [], "label": "not covered"},
    ]
    first, second = csv.DictReader(io.StringIO(score_csv(found)))
    assert first == {
        **{"text": "'=SUM(A1)", "toxicity": "0.25", "reward": "1.5", "label": "ok", "tokens left out": "3"},
        **{"logit ok": "1.5", "logit bad": "0.4", "scorer": "org/m", "revision": "abc"},
    }
    assert (second["text"], second["toxicity"], second["logit ok"], second["label"]) == (
        *("שלום\nworld", "", "", "not covered"),
    )
    whole = json.loads(score_json(found))
    assert whole["scorer"]["name"] == "org/m"
    assert whole["scorer"]["revision"] == "abc"
    assert whole["scores"][0] == {**score_records(found)[0], "reward": 1.5, "cut": 3}
