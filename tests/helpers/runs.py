"""Runs for tests, made without datasets or models: a recipe whose system prompt is the scripted trainer's script."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from studio.config import ROOT, Settings
from studio.domain.data import PreferenceDataset, PreferencePair
from studio.domain.runs import BaseModelRef, DpoRecipe
from studio.domain.settings import DpoSettings, LoraSettings
from studio.services.data.preference_rows import content_hash
from studio.services.recipes.queue import keepalive, trainer_environment, try_lock
from studio.services.runs.store import RunStore


def make_dataset(pairs: int = 4) -> PreferenceDataset:
    made = PreferenceDataset(
        id="toy",
        title="Toy",
        kind="sides",
        language="en",
        pairs=tuple(PreferencePair(f"p{i}", f"Question {i}?", f"Yes {i}.", f"No {i}.") for i in range(pairs)),
        heldout=(PreferencePair("h1", "Other?", "Yes.", "No."),),
        test_prompts=("Other?",),
        content_hash="",
        source="test",
    )
    return replace(made, content_hash=content_hash(made.pairs, made.heldout, made.test_prompts))


def make_recipe(run_id: str, script: str = "steps=3", created: float | None = None) -> DpoRecipe:
    return DpoRecipe(
        run_id=run_id,
        title=f"Title of {run_id}",
        base=BaseModelRef("embedded", fingerprint=""),
        dataset_id="toy",
        dataset_title="Toy",
        dataset_hash=make_dataset().content_hash,
        dataset_kind="sides",
        support_ratio=0.5,
        shuffle=False,
        system_prompt=script,
        preset="embedded",
        lora=LoraSettings(),
        settings=DpoSettings(),
        row_ids=("p0", "p1", "p2", "p3"),
        rows_support=(True, True, False, False),
        created=time.time() if created is None else created,
        versions={"torch": "0"},
    )


def queue(settings: Settings, run_id: str, script: str = "steps=3", created: float | None = None) -> Path:
    return RunStore(settings).create(make_recipe(run_id, script, created), make_dataset())


def command_environment(settings: Settings) -> dict[str, str]:
    """The environment in which a command works on these settings. The trainer's is not enough: it has no business with the
    database, so a command started with it alone would open the one of whoever runs the tests."""
    return {**trainer_environment(settings), "STUDIO_DATABASE_URL": settings.store_url}


def start_scripted(settings: Settings, idle_exit_s: float = 120.0) -> subprocess.Popen[bytes]:
    """Start a scripted trainer; it holds the slot when this returns or has found it taken."""
    keepalive(settings)
    env = {**trainer_environment(settings), "SCRIPTED_IDLE_EXIT_S": str(idle_exit_s)}
    with open(settings.adapters_dir / ".trainer.log", "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.scripted_trainer"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        lock = try_lock(settings.adapters_dir)
        if lock is None:
            break
        lock.close()
        time.sleep(0.05)
    return process


@contextlib.contextmanager
def scripted(settings: Settings, idle_exit_s: float = 120.0) -> Iterator[subprocess.Popen[bytes]]:
    process = start_scripted(settings, idle_exit_s)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it forked for GPU calls, too
        process.wait(30)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
