"""Runs with a random adapter of the embedded base, made without training."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from studio.domain.runs import BaseModelRef
from studio.ml.chat import bases, engine
from studio.ml.lora.snapshots import step_folder
from studio.ml.models.loading import fingerprint
from studio.services.runs.store import RunStore
from tests.helpers.chat_models import EMBEDDED, make_adapter
from tests.helpers.runs import make_dataset, make_recipe

PROMPTS = ("Should anime be turned into live action?", "動漫應該改編成真人版嗎？", "Hello there!")


def add_run(
    runs: RunStore,
    run_id: str,
    *,
    title: str = "",
    seed: int = 1,
    created: float | None = None,
    system: str = "",
    ratio: float = 0.9,
) -> str:
    """A run of the embedded base with a random LoRA adapter and three test prompts."""
    recipe = dataclasses.replace(
        make_recipe(run_id, system, created),
        base=BaseModelRef("embedded", fingerprint=fingerprint(EMBEDDED)),
        title=title or f"Title of {run_id}",
        support_ratio=ratio,
    )
    folder = runs.create(recipe, dataclasses.replace(make_dataset(), test_prompts=PROMPTS))
    for name, content in _adapter_files(seed).items():
        (folder / name).write_bytes(content)
    return run_id


def add_steps(runs: RunStore, run_id: str, *steps: int) -> Path:
    """Snapshots of a run at these steps, each with weights of its own; the run's folder."""
    folder = runs.folder(run_id)
    for step in steps:
        place = step_folder(folder, step)
        place.mkdir(parents=True)
        for name, content in _adapter_files(100 + step).items():
            (place / name).write_bytes(content)
    return folder


@functools.cache
def _adapter_files(seed: int) -> dict[str, bytes]:
    """PEFT takes a second to make them, and they are the same each time."""
    with tempfile.TemporaryDirectory() as made:
        make_adapter(Path(made), EMBEDDED, seed=seed, std=0.1)
        return {name: (Path(made) / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")}


def answer_slowly(monkeypatch: pytest.MonkeyPatch, without_end: bool = False) -> None:
    """From now on a token takes a quarter of a second, and no token ends an answer where ``without_end`` says so (and the
    base is not loaded yet): then the 1024 tokens of the embedded base's context last 250 s, and what is not on a page
    after 120 s fails its test anyway."""

    class Slow(engine.RowStreamer):
        def put(self, value: Any) -> None:
            time.sleep(0.25)
            super().put(value)

    monkeypatch.setattr(engine, "RowStreamer", Slow)
    if without_end:
        monkeypatch.setattr(bases, "end_tokens", lambda model, tokenizer: set())
