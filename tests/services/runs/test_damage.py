"""Whatever lies in a run folder: the others are listed, and this one is, or is left out with its reason."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
from pathlib import Path

import pytest

from studio.config import Settings
from studio.domain.events import MeasureEvent, SampleEvent, SupportShare
from studio.errors import InputError, StudioError
from studio.services.files.records import LineWriter
from studio.services.library.model_card import model_card
from studio.services.runs.status import stop_request
from studio.services.runs.store import RunStore
from studio.ui.library import view
from studio.ui.training import run_view
from tests.helpers.damaged_runs import DAMAGES, damaged, kinds, opened
from tests.helpers.runs import queue, scripted
from tests.helpers.scripted_trainer import step_event
from tests.helpers.waiting import wait_until


@pytest.fixture
def sound(settings: Settings, tmp_path: Path) -> Path:
    """A run folder with every file that one can have."""
    folder = queue(settings, "sound-one")
    events, samples = LineWriter(folder / "events.jsonl"), LineWriter(folder / "samples.jsonl")
    events.write(MeasureEvent("adapter", 3, SupportShare(0.9, 0.8, 0.95, 20, 1, 0.95, 100)))
    events.write(step_event(3, 3))
    samples.write(SampleEvent(0, "Hi?", "Yes."))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    (folder / "notes.json").write_text('{"title": "Mine", "note": "seen"}')
    (folder / "log.txt").write_text("a line\n")
    shutil.copytree(folder, tmp_path / "template")
    return tmp_path / "template"


def test_no_damage_hides_the_others_or_goes_unsaid(settings: Settings, sound: Path) -> None:
    store, home = RunStore(settings), settings.adapters_dir
    assert len(kinds()) >= 200
    count = 0
    for folder, what in damaged(sound, home, len(kinds()), seed=7):
        if what == "adapter_model.safetensors is huge":  # takes seconds to hash, as weights of that size do
            folder.joinpath("adapter_model.safetensors").unlink()
        views, left_out = store.list(), store.damaged()
        assert "sound-one" in [run.run_id for run in views], what
        gone = what == "folder a file" or not os.path.lexists(folder)
        assert gone or folder.name in {run.run_id for run in views} | {run.name for run in left_out}, what
        for run in views:
            assert view.row(run), what
            assert view.header(run), what
            run_view.history_row(run)
            run_view.header(run)
            run_view.progress(run)
            run_view.result(run)
        for read in (store.samples, store.transcripts, store.events, store.log_tail, store.dataset, store.ended):
            with contextlib.suppress(StudioError):  # a sentence, nothing else
                read(folder.name)
        for run in [run for run in views if run.run_id == folder.name]:
            if what != "samples.jsonl is huge":  # what is listed can be opened
                assert isinstance(store.samples(run.run_id), list), what
            assert isinstance(store.log_tail(run.run_id), str), what
            assert store.events(run.run_id), what
            with contextlib.suppress(StudioError):
                model_card(run, store.samples(run.run_id))
        assert view.damaged(left_out)
        count += 1
        opened(home)
        shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink(missing_ok=True)
    assert count == len(kinds())


def test_reasons_are_sentences(settings: Settings, sound: Path) -> None:
    home = settings.adapters_dir
    wanted = {
        "run.json is a directory": "run.json is missing or no plain file",
        "run.json is deep": "run.json is not JSON|nested too deeply",
        "status.json is random": "status.json is not JSON",
        "status.json is a pipe": "not a plain file",
        "events.jsonl is a directory": "not a plain file",
        "events.jsonl is huge": "larger than 256 MB",
        "adapter_model.safetensors is a device": "not a plain file",
        "notes.json is a link to itself": "cannot be read",
        "folder a link to elsewhere": "does not lie",
    }
    seen = {}
    for folder, what in damaged(sound, home, len(kinds()), seed=3):
        if what in wanted:
            seen[what] = next(run.reason for run in RunStore(settings).damaged() if run.name == folder.name)
        opened(home)
        shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink(missing_ok=True)
    for what, pattern in wanted.items():
        assert re.search(pattern, seen[what]), (what, seen[what])


def test_a_folder_whose_name_is_no_run_id_is_said(settings: Settings, sound: Path) -> None:
    shutil.copytree(sound, settings.adapters_dir / "My Run")
    (settings.adapters_dir / "My notes").mkdir()
    assert [(run.name, "is not a run id" in run.reason) for run in RunStore(settings).damaged()] == [("My Run", True)]


def test_a_damaged_line_costs_only_itself_whenever_it_is_read(settings: Settings, sound: Path) -> None:
    folder, store = settings.adapters_dir / "sound-one", RunStore(settings)
    with open(folder / "events.jsonl", "ab") as file:
        file.write(b'{"type": "measure", "who": 5}\n' + b"[" * 5000 + b"\n")
    for _ in range(2):
        run = store.get("sound-one")
        assert run.last_step == step_event(3, 3)
        assert run.adapter_share is not None
    assert len(store.events("sound-one")[0]) == 2


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "is missing"])
def test_a_damaged_stop_request_asks_for_nothing(settings: Settings, damage: str) -> None:
    folder = queue(settings, "run-one")
    DAMAGES[damage](folder / "stop.json", random.Random(1))
    assert stop_request(folder) is None


@pytest.mark.parametrize("damage", ["is a directory", "is random", "is deep", "is a pipe"])
def test_a_damaged_stop_request_ends_no_trainer_and_can_be_replaced(settings: Settings, damage: str) -> None:
    folder, store = queue(settings, "run-one", "steps=400 pause=0.02"), RunStore(settings)
    DAMAGES[damage](folder / "stop.json", random.Random(1))
    with scripted(settings) as trainer:
        wait_until(lambda: store.status("run-one").step >= 2)
        assert store.status("run-one").state == "running"
        store.stop("run-one", "keep")
        wait_until(lambda: store.status("run-one").state == "stopped")
        wait_until(lambda: not os.path.lexists(folder / "stop.json"))
        assert trainer.poll() is None


def test_a_record_with_a_time_that_cannot_be_is_refused(settings: Settings) -> None:
    folder, store = queue(settings, "run-one"), RunStore(settings)
    text = (folder / "status.json").read_text()
    (folder / "status.json").write_text(text.replace('"heartbeat": 0.0', '"heartbeat": Infinity'))
    with pytest.raises(InputError, match="cannot be"):
        store.get("run-one")
