"""A real Ray cluster of two nodes on this machine: what happens to runs when the app or the cluster goes."""

from __future__ import annotations

import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import ROOT, Settings
from studio.domain.events import StepEvent
from studio.services.align.service import AlignForm
from studio.services.recipes.queue import release_trainer
from studio.services.runs.events import drop_superseded, read_events
from studio.services.runs.status import read_status
from studio.services.runs.store import RunStore
from tests.helpers.ray_cluster import add_node
from tests.helpers.runs import queue, scripted
from tests.helpers.services import opened, settings_in
from tests.helpers.waiting import wait_until

START = "demo-support-90"


@pytest.fixture
def settings(cluster: Any, tmp_path: Path) -> Settings:
    return settings_in(tmp_path, ray_address=cluster.address, ray_node_dir=str(tmp_path / "node"))


@pytest.fixture
def store(settings: Settings) -> RunStore:
    return RunStore(settings)


def steps(store: RunStore, run_id: str) -> list[int]:
    return [event.step for event in store.events(run_id)[0] if isinstance(event, StepEvent)]


def wait_state(store: RunStore, run_id: str, state: str) -> None:
    wait_until(lambda: store.status(run_id).state == state, 120)


def test_a_killed_app_finds_its_runs_again(settings: Settings, store: RunStore) -> None:
    queue(settings, "aaa", "steps=3000 pause=0.1")
    with scripted(settings) as first:
        wait_until(lambda: steps(store, "aaa"), 120)
        first.kill()
        first.wait(30)
    desk = read_status(settings.adapters_dir / "aaa").pid
    seen = len(steps(store, "aaa"))
    wait_until(lambda: len(steps(store, "aaa")) > seen)  # nobody of the app is there
    with scripted(settings):
        queue(settings, "bbb", "steps=1")
        wait_state(store, "bbb", "done")
        assert store.status("aaa").state == "running"
        assert read_status(settings.adapters_dir / "aaa").pid == desk
        store.stop("aaa", "keep")
        wait_state(store, "aaa", "stopped")
        wait_until(lambda: not (settings.adapters_dir / "aaa" / "stop.json").exists())
    last = steps(store, "aaa")
    assert last == list(range(1, len(last) + 1))


def test_as_many_runs_work_as_there_is_room_for(settings: Settings, store: RunStore) -> None:
    ids = [f"run-{number}" for number in range(4)]
    for run_id in ids:
        queue(settings, run_id, "steps=20 pause=0.1")
    most = 0

    def done() -> bool:
        nonlocal most
        states = [store.status(run_id).state for run_id in ids]
        most = max(most, states.count("running"))
        return set(states) == {"done"}

    with scripted(settings):
        wait_until(done, 120)
    assert most == 2


def test_a_run_waits_for_a_card_and_for_the_right_versions(
    cluster: Any, settings: Settings, store: RunStore, tmp_path: Path
) -> None:
    fake = tmp_path / "site" / "transformers-0.0.1.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 0.0.1\n")
    queue(replace(settings, ray_gpus=1), "aaa")
    with scripted(settings):
        wait_until(lambda: "No node of the Ray cluster has 1 CPU and 1 GPU" in store.status("aaa").message, 120)
        assert store.status("aaa").state == "queued"
        node = add_node(cluster, num_gpus=1, env_vars={"PYTHONPATH": str(fake.parent)})
        try:
            wait_state(store, "aaa", "failed")
        finally:
            cluster.remove_node(node)
    assert "has transformers 0.0.1, this studio 5." in store.status("aaa").message


def test_a_real_run_goes_on_from_an_adapter_of_the_app(settings: Settings, store: RunStore) -> None:
    shutil.copytree(ROOT / "adapters" / START, settings.adapters_dir / START)
    chosen = AlignForm.from_preset("embedded", "embedded", dataset_id="live-action-en", support_ratio=0.1, data_size=8)
    form = replace(
        chosen, settings=replace(chosen.settings, epochs=2.0, measured_answers=4, max_length=128), start_run=START
    )
    with opened(settings) as services:
        try:
            run_id = services.align.start(form)
            told: list[Any] = []
            view = services.queue.wait(run_id, told.append)
            assert view.status.state == "done", view.status.message
            assert view.has_adapter
            assert [event.step for event in told if isinstance(event, StepEvent)] == [1, 2]
            assert view.adapter_share is not None
            assert view.recipe.start_run == START
            assert not (view.folder / "checkpoint").exists()
        finally:
            release_trainer(settings)


@pytest.mark.timeout(600)
def test_a_run_whose_node_dies_is_finished_on_another(cluster: Any, settings: Settings, store: RunStore) -> None:
    chosen = AlignForm.from_preset("embedded", "embedded", dataset_id="live-action-en", support_ratio=0.9, data_size=50)
    short = {"epochs": 1000.0, "max_seconds": 45.0, "measured_answers": 4, "max_length": 128}
    form = replace(chosen, settings=replace(chosen.settings, **short))
    with opened(settings) as services:
        try:
            run_id = services.align.start(form)
            folder = settings.adapters_dir / run_id
            wait_until(lambda: list(folder.glob("checkpoint/*/trainer_state.json")), 300)
            saved = max(int(path.parent.name.split("-")[1]) for path in folder.glob("checkpoint/*/trainer_state.json"))
            wait_until(lambda: steps(store, run_id)[-1] > saved)
            where = re.findall(r"node \S+ \((\w+)\)", (folder / "log.txt").read_text())
            (dead,) = [node for node in cluster.worker_nodes if node.node_id.startswith(where[-1])]
            os.kill(dead.all_processes["raylet"][0].process.pid, signal.SIGKILL)
            wait_until(lambda: store.status(run_id).restarts == 1, 120)
            view = services.queue.wait(run_id, lambda event: None)
        finally:
            release_trainer(settings)
        cluster.remove_node(dead)
        add_node(cluster)
    assert view.status.state == "done", view.status.message
    assert view.status.restarts == 1
    assert view.has_adapter
    assert view.adapter_share is not None
    told = read_events(folder)[0]
    kept = [event.step for event in drop_superseded(told) if isinstance(event, StepEvent)]
    assert kept == list(range(1, view.status.total + 1)), "no gap, and no step twice"
    assert len(kept) > saved
    log = store.log_tail(run_id, 10_000)
    assert re.search(
        r"Node \S+ \(\w+\) is gone; going on from the last checkpoint on node \S+ \(\w+\) \(restart 1\)\.", log
    )
    all_steps = [event for event in told if isinstance(event, StepEvent)]
    again = next(at for at, event in enumerate(all_steps[1:], 1) if event.step <= all_steps[at - 1].step)
    assert all_steps[again].step > saved, "it went on from its last checkpoint, not from the beginning"
    first = {event.step: event.loss for event in all_steps[:again]}
    repeated = [event for event in all_steps[again:] if event.step in first]
    assert repeated
    assert [event.loss for event in repeated] == pytest.approx([first[event.step] for event in repeated], abs=1e-4)


def test_a_cluster_that_is_gone_says_so_and_loses_nothing(cluster: Any, settings: Settings, store: RunStore) -> None:
    queue(settings, "aaa", "steps=1000 pause=0.1")
    with scripted(settings):
        wait_until(lambda: len(steps(store, "aaa")) > 4, 120)
        cluster.shutdown()
        wait_until(lambda: "The Ray cluster at" in store.status("aaa").message, 120)
    assert store.status("aaa").state == "queued"
    assert (settings.adapters_dir / "aaa" / "checkpoint" / "step.json").exists()
    store.stop("aaa", "discard")
    assert store.ids() == []
