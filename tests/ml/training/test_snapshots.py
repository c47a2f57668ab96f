"""Snapshots of an adapter on its way: what they are, how many, and what goes first."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from studio.domain.events import SampleEvent
from studio.domain.settings import LoraSettings
from studio.ml.dpo import observer
from studio.ml.dpo.run import train_dpo
from studio.ml.lora.snapshots import IN_USE_S, Snapshots, kept_steps, mark_used, step_folder
from studio.ml.measure.answers import greedy_answers
from tests.helpers.dpo import load, make_job

Disk = namedtuple("Disk", "total used free")


def test_a_run_keeps_its_adapter_at_the_steps_of_the_film(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel

    monkeypatch.setattr("studio.ml.training.fit.training_dtype", lambda device: "float32")
    job = make_job(base, tmp_path / "run", lora=LoraSettings(rank=4), learning_rate=0.05, sample_every=2, epochs=3)
    bounded = type(job)(**{**job.__dict__, "steps_kept": 3, "steps_mb": 5})
    told: list[Any] = []
    train_dpo(bounded, told.append, lambda: False)
    # nine steps: the end is the run's own adapter
    assert kept_steps(job.folder) == (4, 6, 8)
    for step in (4, 8):
        film = [event for event in told if isinstance(event, SampleEvent) and event.step == step]
        model, tokenizer = load(base)
        then = PeftModel.from_pretrained(model, step_folder(job.folder, step)).eval()
        assert greedy_answers(then, tokenizer, [f.prompt for f in film], "", observer.ANSWER_TOKENS) == [
            f.answer for f in film
        ]
    assert not list((job.folder / "steps").glob(".*"))


def keeper(folder: Path, count: int = 4, megabytes: int = 100, size: int = 10) -> Snapshots:
    def save(place: Path) -> None:
        place.mkdir(parents=True)
        (place / "adapter_model.safetensors").write_bytes(bytes(size))

    return Snapshots(folder, save, count, megabytes)


def test_they_are_thinned_evenly_and_one_in_use_stays(tmp_path: Path) -> None:
    snapshots = keeper(tmp_path / "run")
    (tmp_path / "run").mkdir()
    for step in range(1, 31):
        snapshots.keep(step)
        if step == 5:
            assert len(kept_steps(snapshots.folder)) == 4
            mark_used(step_folder(snapshots.folder, 5))
    kept = kept_steps(snapshots.folder)
    assert len(kept) == 4
    assert {5, 30} <= set(kept)
    gaps = [later - earlier for earlier, later in zip((0, *kept), kept, strict=False)]
    assert max(gaps) <= 14
    mark = step_folder(snapshots.folder, 5) / "used"
    os.utime(mark, (mark.stat().st_atime - IN_USE_S - 1, mark.stat().st_mtime - IN_USE_S - 1))
    heavy = keeper(tmp_path / "run", megabytes=1, size=600_000)
    heavy.keep(40)
    assert kept_steps(snapshots.folder)[-1] == 40
    heavy.keep(50)
    last = kept_steps(snapshots.folder)
    assert last[-1] == 50
    assert 40 not in last
    assert 5 not in last  # nobody has used it for a while
    for none in (keeper(tmp_path / "run", count=0), keeper(tmp_path / "run", megabytes=0)):
        none.keep(60)
    assert kept_steps(snapshots.folder) == last


def test_on_a_full_disk_those_of_all_runs_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in ("old", "new"):
        (tmp_path / run).mkdir()
        for step in (1, 2):
            keeper(tmp_path / run).keep(step)
    mark_used(step_folder(tmp_path / "old", 2))
    free = iter([0, 0, 0, 2**40])  # after two were deleted there is room
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(2**41, 0, next(free, 2**40)))
    keeper(tmp_path / "new").keep(3)
    assert (kept_steps(tmp_path / "old"), kept_steps(tmp_path / "new")) == ((2,), (2, 3))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(2**41, 2**41, 0))
    keeper(tmp_path / "new").keep(4)
    assert (kept_steps(tmp_path / "old"), kept_steps(tmp_path / "new")) == ((2,), ())


def test_one_that_cannot_be_written_costs_only_itself(tmp_path: Path) -> None:
    def full(place: Path) -> None:
        place.mkdir(parents=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    Snapshots(tmp_path, full, 4, 100).keep(1)
    assert kept_steps(tmp_path) == ()
    assert list((tmp_path / "steps").iterdir()) == []


def test_what_is_no_snapshot_is_not_one(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "adapter_model.safetensors").write_bytes(b"x")
    steps = tmp_path / "run" / "steps"
    for name in ("1", ".new-2", "x", "٣"):
        (steps / name).mkdir(parents=True)
    for name in (".new-2", "x", "٣"):
        (steps / name / "adapter_model.safetensors").write_bytes(b"x")
    (steps / "5").symlink_to(outside)
    assert kept_steps(tmp_path / "run") == ()
