"""What is peculiar to runs on a lent GPU: its time ends, it is refused."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path

from studio.config import ZEROGPU, Settings
from studio.services.runs.job import read_job
from studio.services.runs.store import RunStore
from studio.services.worker.run import SAVING_S, work
from tests.helpers.runs import make_dataset, make_recipe, queue, scripted
from tests.helpers.scripted_trainer import play
from tests.helpers.services import settings_in
from tests.helpers.waiting import wait_until
from tests.helpers.zerogpu import zerogpu


def test_a_run_is_stopped_before_its_gpu_is_taken_back_and_its_adapter_is_kept(settings: Settings) -> None:
    folder = queue(settings, "long", "steps=100000 pause=0.01")
    process = multiprocessing.get_context("fork").Process(target=work, args=(folder, play, SAVING_S + 0.3))
    process.start()
    process.join(60)
    view = RunStore(settings).get("long")
    assert (view.status.state, view.status.lent, view.has_adapter) == ("stopped", True, True)
    assert "as the GPU's time was over" in view.status.message


def test_a_run_that_is_refused_a_gpu_fails_with_the_reason_and_is_asked_for_no_more(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, device=ZEROGPU)
    store = RunStore(settings)
    with zerogpu() as api, scripted(settings):
        api.refuse_quota(left=10, wait_s=3600)
        queue(settings, "refused")
        wait_until(lambda: store.status("refused").state == "failed", 120)
        message = store.status("refused").message
        assert message.startswith("ZeroGPU lends no GPU now: ")
        assert message.endswith("Resume asks again; “Train on the CPU” does without.")
        wait_until(lambda: not (settings.adapters_dir / "refused" / "job.json").exists())
        assert len(api.asked) == 1
        api.refusal = None
        store.resume("refused")
        wait_until(lambda: store.status("refused").state == "done", 120)


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
