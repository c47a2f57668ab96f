"""A DPO run that goes on from the adapter of another: asked for, recorded, trained, told."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import ROOT
from studio.domain.events import StepEvent
from studio.errors import ConflictError, InputError, NotFoundError, RecipeError, TrainingError
from studio.services import Services
from studio.services.align.form import AlignForm
from studio.services.runs.job import read_job
from studio.services.sweeps.plan import SweepForm
from studio.services.words import explain
from studio.services.worker.run import train_run
from studio.ui.compare.panes.view import BaseFacts, identity
from studio.ui.compare.talk import Pane
from studio.ui.training import run_view
from tests.helpers.services import opened, settings_in

START = "demo-support-90"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    settings = settings_in(tmp_path_factory.mktemp("start"))
    shutil.copytree(ROOT / "adapters" / START, settings.adapters_dir / START)
    with opened(settings) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)  # trained by hand
        yield made


@pytest.fixture(scope="module")
def form() -> AlignForm:
    chosen = AlignForm.from_preset("embedded", "embedded", dataset_id="live-action-en", support_ratio=0.1, data_size=8)
    settings = replace(chosen.settings, epochs=1.0, measured_answers=4, max_length=128)
    return replace(chosen, settings=settings, start_run=START)


def test_it_is_recorded_trained_from_there_and_told(services: Services, form: AlignForm) -> None:
    start = services.runs.get(START)
    run_id = services.align.start(form)
    recipe = services.runs.get(run_id).recipe
    assert (recipe.start_run, recipe.start_hash) == (START, start.adapter_hash)
    told: list[Any] = []
    train_run(read_job(services.runs.folder(run_id)), told.append, lambda: False)
    first = next(event for event in told if isinstance(event, StepEvent))
    assert first.margin == pytest.approx(0, abs=0.02)
    view = services.runs.get(run_id)
    result = services.align.result(run_id)
    assert (result["start_run"], result["base_support_share"]) == (START, None)
    card = services.library.card(run_id)
    assert f"went on from the adapter of run `{START}`, which it contains" in card
    assert f"run {START}, adapter {start.adapter_hash}" in card.replace("\\", "")
    assert START in identity(Pane(run_id), view, BaseFacts("embedded"), recipe.system_prompt)
    assert f"started from</i> run {START}" in run_view.header(view)
    # beta times the sum is the implicit reward only where the reference was the base
    moved = explain(services.compare, services.runs, run_id, "Should Akira be filmed?", "Yes.")
    assert moved.reward is None
    assert explain(services.compare, services.runs, START, "Should Akira be filmed?", "Yes.").reward is not None
    # two in a line: the next one goes on from this one, which is on offer beside its own start
    assert {START, run_id} <= {name for _, name in services.align.starts("embedded")}
    again = services.library.zip(run_id)
    assert again.is_file()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"start_run": "no-such-run"}, NotFoundError, "no-such-run"),
        ({"base": "smollm2-135m"}, RecipeError, "start_run is demo-support-90, an adapter of embedded"),
    ],
)
def test_what_is_no_start_is_refused(
    services: Services, form: AlignForm, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    before = services.runs.ids()
    with pytest.raises(error, match=words):
        services.align.start(replace(form, **changes))
    assert services.runs.ids() == before


def test_a_sweep_a_waiting_run_and_a_changed_adapter_are_refused(services: Services, form: AlignForm) -> None:
    with pytest.raises(InputError, match="a sweep start from the base"):
        SweepForm(form, ratios=(0.0, 1.0)).forms()
    waiting = services.align.start(form)
    with pytest.raises(ConflictError, match="has no adapter yet; it is queued"):
        services.align.start(replace(form, start_run=waiting))
    adapter = services.runs.folder(START) / "adapter_model.safetensors"
    kept = adapter.read_bytes()
    adapter.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        with pytest.raises(TrainingError, match=f"{START}, which this one goes on from, has changed"):
            train_run(read_job(services.runs.folder(waiting)), lambda event: None, lambda: False)
    finally:
        adapter.write_bytes(kept)
    assert Path(adapter).read_bytes() == kept
