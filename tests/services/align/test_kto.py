"""A KTO run from Align's form: what it takes of it, what it trains on, what is said of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from studio.domain.chat import BASE, VECTOR, Sampling
from studio.domain.data import Message
from studio.domain.events import StepEvent
from studio.domain.runs import KtoRecipe, RunStatus
from studio.domain.settings import ThumbWeights
from studio.errors import DatasetError, RecipeError
from studio.services import Services
from studio.services.align.form import AlignForm
from studio.services.compare.panes import PaneChat
from studio.services.lineage.vector import can_steer
from studio.services.pages.run import run_page
from studio.services.runs.job import read_job
from studio.services.runs.status import write_status
from studio.services.sweeps.plan import SweepForm
from studio.services.worker.run import train_run
from studio.ui.align.form import preview_rows
from studio.ui.training import run_view
from tests.helpers.kto import make_rated
from tests.helpers.services import opened, settings_in


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("kto")
    with opened(settings_in(folder)) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)  # trained by hand
        rows = [{"prompt": a.prompt, "completion": a.completion, "label": a.liked} for a in make_rated(12)[:-1]]
        path = folder / "thumbs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        made.datasets.import_file(path)
        yield made


@pytest.fixture
def form() -> AlignForm:
    chosen = AlignForm.from_preset("embedded", "embedded", dataset_id="thumbs", support_ratio=0.1, data_size=11)
    settings = replace(chosen.settings, epochs=1.0, batch_size=4, measured_answers=4, max_length=128)
    return replace(chosen, settings=settings, thumbs=ThumbWeights(undesirable_weight=1.2))


def test_rated_answers_are_trained_with_kto_and_told_as_that(services: Services, form: AlignForm) -> None:
    table, sentence = preview_rows(services, form)
    assert sentence == "**11 rated answers: 6 up, 5 down**."
    assert all(bool(row[2]) == (row[4] == "up") and bool(row[3]) == (row[4] == "down") for row in table)
    run_id = services.align.start(form)
    recipe = services.runs.get(run_id).recipe
    assert isinstance(recipe, KtoRecipe)
    assert [row[4] == "up" for row in table] == list(recipe.rows_liked)
    assert (recipe.settings.beta, recipe.settings.undesirable_weight) == (form.settings.beta, 1.2)
    assert recipe.title == "Thumbs · KTO · embedded"
    # a batch has some of both kinds
    assert all(0 < sum(recipe.rows_liked[at : at + 4]) < len(recipe.rows_liked[at : at + 4]) for at in (0, 4, 8))
    told: list[Any] = []
    train_run(read_job(services.runs.folder(run_id)), told.append, lambda: False)
    assert sum(isinstance(event, StepEvent) for event in told) == 3
    header, card = run_view.header(services.runs.get(run_id)), services.library.card(run_id)
    assert "11 rated answers: 6 up, 5 down" in header
    assert "thumbs up 1, down 1.2" in header
    assert "Kahneman-Tversky optimisation (KTO)" in card
    assert "11, 6 of them up" in card
    assert_a_page_and_a_vector(services, run_id)
    # out and in again, with the data it was made from
    again = services.library.import_zip(services.library.zip(run_id))
    assert services.runs.get(again.run_id).recipe == replace(recipe, run_id=again.run_id)


def assert_a_page_and_a_vector(services: Services, run_id: str) -> None:
    """What a DPO run has beside its adapter, a KTO run has as well."""
    run = services.runs.get(run_id)
    write_status(run.folder, RunStatus("done", updated=time.time()))
    assert isinstance(run.recipe, KtoRecipe)
    assert can_steer(run)
    assert not can_steer(replace(run, recipe=replace(run.recipe, rows_liked=(True,) * 11)))
    name, ask = f"{run_id}@{VECTOR}", (Message("user", make_rated(2)[0].prompt),)
    asked = [PaneChat(BASE, ask), *(PaneChat(name, ask, strength=strength) for strength in (0.0, 2.0))]
    *_, (base, nothing, twice) = services.compare.stream(asked, Sampling(temperature=0, max_new_tokens=12))
    assert nothing.text == base.text != twice.text
    assert services.steering.measure(run_id, (1.0,))[0][0] == 1.0
    page = run_page(services.runs, run_id)
    for text in ("KTO on embedded", "11 rated answers: 6 up, 5 down", "thumbs up 1, down 1.2", "vector × 1"):
        assert text in page
    assert "Asked for" not in page
    assert "dashed mark" not in page


def test_what_it_cannot_do_is_said(services: Services, form: AlignForm) -> None:
    with pytest.raises(RecipeError, match=r"data_size is 12; it must be a whole number from 1 to 11"):
        services.align.start(replace(form, data_size=12))
    with pytest.raises(RecipeError, match=r"batch_size is 1; .* at least 2"):
        services.align.start(replace(form, settings=replace(form.settings, batch_size=1)))
    with pytest.raises(RecipeError, match="undesirable_weight is -1"):
        services.align.start(replace(form, thumbs=ThumbWeights(undesirable_weight=-1.0)))
    with pytest.raises(DatasetError, match="holds rated answers, which KTO trains on one by one"):
        services.sweeps.start(SweepForm(form, ratios=(0.0, 1.0)))
