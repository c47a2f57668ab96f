"""What the library's tests share: a tiny base, a plain PEFT adapter of it, finished runs, a Hub that is a folder."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from studio.config import Settings
from studio.domain.events import MeasureEvent, ProbeEvent, SampleEvent, StepEvent, SupportShare
from studio.domain.runs import RunStatus
from studio.services.files.records import LineWriter, write_record
from studio.services.library.service import LibraryService
from studio.services.models import ModelService
from studio.services.runs.store import RunStore
from tests.helpers.runs import make_dataset, make_recipe

SHARE = SupportShare(0.9, 0.79, 0.96, 50, 3, 0.97, 120)


class FakeEngine:
    """Remembers what it was asked to let go of."""

    def __init__(self) -> None:
        self.released: list[str] = []

    def release(self, run_id: str) -> None:
        self.released.append(run_id)


class FakeHub:
    """The Hub as a folder: keeps what was uploaded, says what it is told to say."""

    def __init__(self, private: bool = True, error: Exception | None = None) -> None:
        self.private = private
        self.error = error
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytes] = {}

    def create_repo(self, repo_id: str, **options: Any) -> SimpleNamespace:
        if self.error is not None:
            raise self.error
        self.calls.append(("create_repo", {"repo_id": repo_id, **options}))
        full = repo_id if "/" in repo_id else f"someone/{repo_id}"
        return SimpleNamespace(repo_id=full, __str__=lambda self: full)

    def repo_info(self, repo_id: str) -> SimpleNamespace:
        return SimpleNamespace(private=self.private)

    def upload_folder(self, **options: Any) -> None:
        from huggingface_hub.utils import filter_repo_objects

        self.calls.append(("upload_folder", options))
        folder = Path(options["folder_path"])
        names = [p.name for p in folder.iterdir()]
        for name in filter_repo_objects(names, allow_patterns=options["allow_patterns"]):
            self.files[name] = (folder / name).read_bytes()


def make_library(settings: Settings, hub: FakeHub | None = None) -> LibraryService:
    return LibraryService(
        settings, RunStore(settings), ModelService(settings), FakeEngine(), hub=lambda token: hub or FakeHub()
    )


def make_run(settings: Settings, adapter: Path, run_id: str = "toy-r50", **changes: Any) -> Path:
    """A finished run as the worker leaves it, private files of this machine included."""
    base, base_path = ModelService(settings).resolve("embedded")
    recipe = dataclasses.replace(make_recipe(run_id, script=""), base=base, lora=lora_of(adapter), **changes)
    folder = RunStore(settings).create(recipe, make_dataset())
    (folder / "job.json").unlink()
    config = json.loads((adapter / "adapter_config.json").read_text())
    write_record(folder / "adapter_config.json", {**config, "base_model_name_or_path": "embedded"})
    shutil.copy(adapter / "adapter_model.safetensors", folder)
    write_record(folder / "status.json", RunStatus("done", "", pid=123, step=3, total=3, seconds=2.5))
    events = LineWriter(folder / "events.jsonl")
    for event in (
        ProbeEvent(0, 0.5, 20, 0.01, 0.0),
        StepEvent(3, 3, 1.0, 0.31, 1.0, -1.0, 2.0, 1.0, -20.0, -30.0, 1e-3, 0.5, 900.0, 1.5, 0.0),
        ProbeEvent(3, 0.85, 20, 0.4, 1.5),
        MeasureEvent("base", 0, dataclasses.replace(SHARE, share=0.52, low=0.39, high=0.65)),
        MeasureEvent("adapter", 3, SHARE),
    ):
        events.write(event)
    events.close()
    samples = LineWriter(folder / "samples.jsonl")
    for step in (0, 3):
        samples.write(SampleEvent(step, "Should it be?", f"<b>answer</b> | at {step}"))
    samples.close()
    (folder / "log.txt").write_text(f"loading {base_path}\nwriting {folder}\nFile {sys.prefix}/lib/x.py\n")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "training_args.bin").write_bytes(b"pickle")
    return folder


def lora_of(adapter: Path) -> Any:
    from studio.domain.runs import LoraSettings

    config = json.loads((adapter / "adapter_config.json").read_text())
    return LoraSettings(config["r"], config["lora_alpha"], 0.0, "all-linear")


def zip_of(folder: Path, target: Path, extra: dict[str, bytes] | None = None, without: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name not in without:
                archive.write(path, path.name)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return target


def config_with(adapter: Path, tmp_path: Path, **changes: Any) -> Path:
    """The adapter's zip with some keys of its config changed."""
    config = {**json.loads((adapter / "adapter_config.json").read_text()), **changes}
    return zip_of(
        adapter,
        tmp_path / "changed.zip",
        {"adapter_config.json": json.dumps(config).encode()},
        without=("adapter_config.json", "README.md"),
    )


def nothing_kept(settings: Settings) -> bool:
    left = [p.name for p in settings.adapters_dir.iterdir() if p.name not in (".bell", ".queue.lock")]
    return left == []
