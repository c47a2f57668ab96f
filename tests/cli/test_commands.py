"""The command line. The fast ones play against a scripted trainer; one trains the embedded base for real."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.__main__ import main
from studio.config import ROOT, Settings, load_settings
from studio.services import Services, build_services
from studio.services.runs.events import drop_superseded
from studio.services.runs.status import read_status
from studio.services.runs.store import RunStore
from tests.helpers.chat_models import EMBEDDED
from tests.helpers.runs import command_environment, queue, scripted
from tests.helpers.services import settings_in
from tests.helpers.waiting import wait_until

KEYS = ["run", "folder", "seconds", "loss", "margin", "probe", "support_share", "base_support_share"]
ALIGN = ["align", "--base", "embedded", "--data", "live-action-en", "--support-ratio", "0.5"]
pytestmark = pytest.mark.skipif(not (EMBEDDED / "config.json").exists(), reason="the embedded base is not built yet")


@pytest.fixture
def cli(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that commands run in this process see too."""
    seen_by_commands(settings, monkeypatch)
    return settings


def seen_by_commands(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in command_environment(settings).items():
        if name.startswith("STUDIO_"):
            monkeypatch.setenv(name, value)


def start(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "studio", *arguments],
        cwd=ROOT,
        env=command_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run started in the background ignores Ctrl-C, and its children inherit that; a terminal's user does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_commands_work_on_the_tests_own_database(cli: Settings) -> None:
    assert load_settings().store_url == cli.database_url == load_settings(command_environment(cli)).store_url


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["align"], "--data"),
        (["align", "--data", "live-action-en", "--support-ratio", "lots"], "'lots'"),
        (["align", "--data", "live-action-en", "--support-ratio", "1.5"], "support_ratio is 1.5"),
        (["align", "--data", "live-action-en", "--data-size", "61"], "data_size is 61"),
        (["align", "--data", "no-such-data"], "no-such-data"),
        (["align", "--data", "live-action-en", "--base", "no such base"], "no such base"),
        (["align", "--data", "live-action-en", "--start", "no-run"], "no-run"),
        (["align", "--data", "live-action-en", "--preset", "best"], "preset is 'best'"),
        (["align", "--data", "live-action-en", "--learning-rate", "nan"], "learning_rate is nan"),
        (["align", "--data", "live-action-en", "--loss-type", "magic"], "loss_type is 'magic'"),
        (["compare", "--adapters", "no-run", "--prompts", "x.json", "--out", "x.csv"], "no-run"),
        (["compare", "--adapters", ",", "--prompts", "x.json", "--out", "x.csv"], "--adapters is ','"),
        (["compare", "--base", ",", "--prompts", "x.json", "--out", "x.csv"], "--base is ','"),
        (["compare", "--base", "embedded", "--prompts", "x.json", "--out", "x.csv"], "nothing to compare"),
        (["compare", "--adapters", "a", "--prompts", "x.json", "--out", "x.csv", "--strength", "abc"], "'abc'"),
        (["compare", "--adapters", "a", "--prompts", "x.json", "--out", "x.csv", "--strength", "nan"], "is nan"),
        (
            ["compare", "--adapters", "a", "--prompts", "x.json", "--out", "x.csv", "--strength", "1,2"],
            "2 values for 1",
        ),
        (["explain", "--run", "no-run", "--prompt", "Hi", "--answer", "Yes."], "no-run"),
        (["explain", "--run", "no-run", "--prompt", "Hi", "--answer", "Yes.", "--strength", "1e9"], "-1 to 2"),
        (["explain", "--run", "no-run", "--prompt", "Hi", "--answer", " "], "--answer is empty"),
        (["compare", "--adapters", "no-run", "--prompts", "x.json", "--out", "x.exe"], "x.exe"),
        (["import", "/no/such/file.json"], "/no/such/file.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    cli: Settings, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = int(str(ended.code))
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert words in err
    assert RunStore(cli).ids() == []


def test_runs_are_listed_newest_first(cli: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "No runs" in capsys.readouterr().err
    now = time.time()
    queue(cli, "first", created=now)
    queue(cli, "second", created=now + 0.01)
    assert main(["runs"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["second", "queued"],
        ["first", "queued"],
    ]
    assert main(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in listed] == ["second", "first"]
    assert listed[0]["support_ratio"] == 0.5
    assert listed[0]["measured"] is None


def test_a_file_is_imported_and_can_be_trained_on(
    cli: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": n, "prompt": f"Tea {n}?", "support": f"Yes, {n} cups.", "oppose": f"No, not {n}."} for n in range(6)]
    file, tests = tmp_path / "tea time.json", tmp_path / "tests.json"
    file.write_text(json.dumps(rows))
    tests.write_text(json.dumps([{"id": 1, "prompt": "More tea?"}]))
    assert main(["import", str(file), "--test-prompts", str(tests), "--title", "Tea"]) == 0
    out = capsys.readouterr().out
    assert "6 training pairs" in out
    assert "1 test prompts" in out
    dataset = out.split(":")[0]
    with scripted(cli):
        assert main(["align", "--data", dataset, "--system-prompt", "steps=2", "--json"]) == 0
    run = json.loads(capsys.readouterr().out.splitlines()[-1])["run"]
    recipe = RunStore(cli).get(run).recipe
    assert (recipe.data_size, recipe.support_ratio) == (6, 0.9)
    assert recipe.rows_support == (True,) * 5 + (False,)
    assert RunStore(cli).dataset(run).test_prompts == ("More tea?",)


def test_align_shows_progress_and_prints_one_json_object_last(
    cli: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted(cli):
        arguments = [*ALIGN, "--data-size", "8", "--rank", "4", "--no-load-in-4bit", "--epochs", "2.5", "--json"]
        assert main([*arguments, "--system-prompt", "steps=4 pause=0.2"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert list(result) == KEYS
    assert result["probe"] == {"share": 0.9, "n": 20, "margin": 0.5}
    assert list(result["support_share"]) == ["share", "low", "high", "n", "abstained", "judge_accuracy", "whole"]
    assert result["base_support_share"] is None
    assert "training" in err
    assert "/4" in err
    recipe = RunStore(cli).get(result["run"]).recipe
    assert (recipe.lora.rank, recipe.settings.epochs, recipe.data_size, recipe.preset) == (4, 2.5, 8, "embedded")


def test_a_failed_run_is_one_line_and_exit_code_two(cli: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(cli):
        assert main([*ALIGN, "--system-prompt", "steps=2 then=raise:NaN", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "failed: The loss became NaN at step 3; try a lower learning rate." in err.splitlines()[-1]


def test_the_run_goes_on_when_its_foreground_is_killed(cli: Settings) -> None:
    with scripted(cli):
        process = start(cli, *ALIGN, "--system-prompt", "steps=40 pause=0.05")
        store = RunStore(cli)
        wait_until(lambda: store.ids() and store.events(store.ids()[0])[0])
        process.kill()
        process.communicate(timeout=60)
        wait_until(lambda: store.status(store.ids()[0]).state == "done")
    assert [e.step for e in store.events(store.ids()[0])[0] if e.type == "step"] == list(range(1, 41))


def test_control_c_stops_and_keeps(cli: Settings) -> None:
    with scripted(cli):
        process = start(cli, *ALIGN, "--system-prompt", "steps=1000 pause=0.05", "--json")
        store = RunStore(cli)
        wait_until(lambda: store.ids() and store.events(store.ids()[0])[0])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    run = json.loads(out)["run"]
    assert store.get(run).status.state == "stopped"
    assert store.get(run).has_adapter


# -- for real -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, dict[str, Any], str]]:
    """A real run of the embedded base through the command line: settings, its JSON, its stderr."""
    settings = settings_in(tmp_path_factory.mktemp("cli"))
    process = start(settings, *ALIGN, "--data-size", "16", "--epochs", "2", "--measured-answers", "8", "--json")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    yield settings, json.loads(out.splitlines()[-1]), err
    (settings.adapters_dir / ".trainer.alive").unlink(missing_ok=True)


@pytest.mark.timeout(700)
def test_align_trains_the_embedded_base(trained: tuple[Settings, dict[str, Any], str]) -> None:
    settings, result, _err = trained
    assert list(result) == KEYS
    assert result["probe"]["n"] == 20
    assert 0.0 <= result["support_share"]["share"] <= 1.0
    assert result["support_share"]["n"] + result["support_share"]["abstained"] > 0
    assert result["base_support_share"]["judge_accuracy"] > 0.5
    view = RunStore(settings).get(result["run"])
    assert view.status.state == "done"
    assert view.last_step is not None
    assert view.last_step.step == view.last_step.total == 4
    assert view.last_step.loss == pytest.approx(result["loss"])
    assert view.recipe.base.fingerprint
    assert {s.step for s in RunStore(settings).samples(result["run"])} >= {0, 4}

    def names() -> set[str]:
        return {path.name for path in view.folder.iterdir()}

    assert {"adapter_model.safetensors", "adapter_config.json", "run.json", "status.json", "log.txt"} <= names()
    # the run writes its last word, then its trainer clears away
    wait_until(lambda: not {"checkpoint", "training_args.bin", "job.json", "stop.json"} & names())
    assert str(ROOT) not in (view.folder / "adapter_config.json").read_text()


@pytest.mark.timeout(700)
def test_align_says_beforehand_how_long_it_will_be(trained: tuple[Settings, dict[str, Any], str]) -> None:
    _, _, err = trained
    assert "4 steps. warning: Fewer than 5 steps change little" in err
    assert "trained nothing" not in err


@pytest.mark.timeout(700)
def test_the_adapter_loads_in_plain_peft_and_moved(trained: tuple[Settings, dict[str, Any], str]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(EMBEDDED), trained[1]["folder"])
    moved = [p.abs().max().item() for name, p in model.named_parameters() if "lora_B" in name]
    assert moved
    assert max(moved) > 0


@pytest.mark.timeout(700)
def test_compare_writes_the_courses_table(
    trained: tuple[Settings, dict[str, Any], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, result, _ = trained
    seen_by_commands(settings, monkeypatch)
    prompts = tmp_path / "prompts.json"
    prompts.write_text(
        json.dumps([{"id": 31, "prompt": "Should Akira be live action?"}, {"id": "q-2", "prompt": "Hello!"}])
    )
    out = tmp_path / "table.csv"
    asked = ["--adapters", result["run"], "--prompts", str(prompts), "--out", str(out), "--max-tokens", "12"]
    assert main(["compare", *asked]) == 0
    with open(out, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "prompt", "response_from_original_model", "response_from_trained_model"]
    assert [row["id"] for row in rows] == ["31", "q-2"]
    assert [row["prompt"] for row in rows] == ["Should Akira be live action?", "Hello!"]
    assert all(row["response_from_original_model"] for row in rows)
    assert main(["compare", *asked, "--base-system-prompt", "Say something else."]) == 0
    with open(out, encoding="utf-8-sig", newline="") as file:
        told = list(csv.DictReader(file))
    assert [row["response_from_trained_model"] for row in told] == [row["response_from_trained_model"] for row in rows]
    assert told[0]["response_from_original_model"] != rows[0]["response_from_original_model"]


@pytest.mark.timeout(700)
def test_explain_names_the_words_that_moved(
    trained: tuple[Settings, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, result, _ = trained
    seen_by_commands(settings, monkeypatch)
    asked = ["--run", result["run"], "--prompt", "Should Akira be live action?", "--answer", "Yes, 動漫.", "--json"]
    assert main(["explain", *asked]) == 0
    moved = json.loads(capsys.readouterr().out)
    assert set(moved) == {"tokens", "sum", "reward"}
    assert set(moved["tokens"][0]) == {"text", "base", "adapter", "difference"}
    assert "".join(token["text"] for token in moved["tokens"]).startswith("Yes, 動漫.")
    assert moved["sum"] == pytest.approx(sum(token["difference"] for token in moved["tokens"]))
    assert moved["reward"] != 0
    shutil.copytree(ROOT / "adapters" / "demo-support-90", settings.adapters_dir / "other")

    def total(*whose: str) -> float:
        assert main(["explain", *whose, *asked[2:]]) == 0
        return float(json.loads(capsys.readouterr().out)["sum"])

    assert total("--blend", f"{result['run']},other,1") == pytest.approx(moved["sum"], abs=1e-3)
    half = f"{result['run']},other,0.5"
    assert main(["save-blend", "--blend", half]) == 0
    saved = capsys.readouterr().out.strip()
    assert total("--run", saved) == pytest.approx(total("--blend", half), abs=1e-2)
    for name in ("other", saved):  # the next tests find the one run
        shutil.rmtree(settings.adapters_dir / name)


@pytest.mark.timeout(700)
def test_chat_answers_from_both_sides(trained: tuple[Settings, dict[str, Any], str]) -> None:
    settings, _, _ = trained
    done = subprocess.run(
        [sys.executable, "-m", "studio", "chat", "--max-tokens", "12", "--temperature", "0"],
        cwd=ROOT,
        env=command_environment(settings),
        input="Hello!\n/reset\nShould Akira be live action?\n",
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(lines) == 4
    assert lines[0].startswith("[Base model] ")
    assert "50 %" in lines[1]


@pytest.mark.timeout(700)
def test_a_run_survives_its_starter_and_is_resumed_after_its_own_death(
    trained: tuple[Settings, dict[str, Any], str],
) -> None:
    settings = trained[0]
    services = build_services(settings)
    known = set(services.runs.ids())
    starter = start(settings, *ALIGN, "--data-size", "16", "--measured-answers", "0")
    wait_until(lambda: set(services.runs.ids()) - known, timeout=120)
    (run_id,) = set(services.runs.ids()) - known
    folder = settings.adapters_dir / run_id
    wait_until(lambda: steps(services, run_id), timeout=300)
    starter.kill()
    starter.communicate(timeout=60)
    seen = len(steps(services, run_id))
    wait_until(lambda: len(steps(services, run_id)) > seen, timeout=300)
    os.kill(read_status(folder).pid, signal.SIGKILL)
    wait_until(lambda: read_status(folder).state == "interrupted")
    services.queue.resume(run_id)
    view = services.queue.wait(run_id, lambda event: None)
    assert view.status.state == "done"
    assert steps(services, run_id) == list(range(1, view.status.total + 1))
    assert view.status.total == 16  # 16 pairs in batches of 8, eight times over


def steps(services: Services, run_id: str) -> list[int]:
    return [e.step for e in drop_superseded(services.runs.events(run_id)[0]) if e.type == "step"]


def test_joining_the_services_imports_no_heavy_library() -> None:
    code = (
        "import sys; from studio.config import Settings; from studio.services import build_services; "
        "build_services(Settings()); "
        "print([m for m in ('torch', 'transformers', 'trl', 'peft', 'datasets', 'sklearn', 'gradio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
