"""Runs with a random adapter of the embedded base, made without training."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

from chat_helpers import make_adapter
from conftest import EMBEDDED
from run_helpers import make_dataset, make_recipe

from studio.domain import BaseModelRef
from studio.ml.loading import fingerprint
from studio.services.runs import RunStore

PROMPTS = ("Should anime be turned into live action?", "動漫應該改編成真人版嗎？", "Hello there!")


def add_run(
    runs: RunStore, run_id: str, *, title: str = "", seed: int = 1, created: float | None = None, system: str = ""
) -> str:
    """A run of the embedded base with a random LoRA adapter and three test prompts."""
    recipe = dataclasses.replace(
        make_recipe(run_id, system, created),
        base=BaseModelRef("embedded", fingerprint=fingerprint(EMBEDDED)),
        title=title or f"Title of {run_id}",
        support_ratio=0.9,
    )
    folder = runs.create(recipe, dataclasses.replace(make_dataset(), test_prompts=PROMPTS))
    with tempfile.TemporaryDirectory() as made:
        make_adapter(Path(made), EMBEDDED, seed=seed, std=0.1)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(Path(made) / name, folder / name)
    return run_id
