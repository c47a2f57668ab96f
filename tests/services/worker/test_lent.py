"""What is peculiar to runs on a lent GPU: its time ends, it is refused."""

from __future__ import annotations

import dataclasses
import multiprocessing

from studio.config import ZEROGPU, Settings
from studio.services.runs.job import read_job
from studio.services.runs.store import RunStore
from studio.services.worker.run import SAVING_S, work
from tests.helpers.runs import make_dataset, make_recipe, queue
from tests.helpers.scripted_trainer import play


def test_a_run_is_stopped_before_its_gpu_is_taken_back_and_its_adapter_is_kept(settings: Settings) -> None:
    folder = queue(settings, "long", "steps=100000 pause=0.01")
    process = multiprocessing.get_context("fork").Process(target=work, args=(folder, play, SAVING_S + 0.3))
    process.start()
    process.join(60)
    view = RunStore(settings).get("long")
    assert (view.status.state, view.status.lent, view.has_adapter) == ("stopped", True, True)
    assert "as the GPU's time was over" in view.status.message


def test_a_run_goes_on_on_the_cpu_if_asked_to(settings: Settings) -> None:
    space = RunStore(dataclasses.replace(settings, device=ZEROGPU))
    folder = space.create(make_recipe("refused"), make_dataset())
    assert read_job(folder).settings.device == ZEROGPU
    space.stop("refused", "keep")
    space.resume("refused", "cpu")
    assert read_job(folder).settings.device == "cpu"
    space.stop("refused", "keep")
    space.resume("refused")
    assert read_job(folder).settings.device == ZEROGPU
