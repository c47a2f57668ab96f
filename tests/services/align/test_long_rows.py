"""Rows too long for a run: told before it is queued, left out or cut, counted in its recipe, and no run fails by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.runs import PairRecipe
from studio.errors import RecipeError
from studio.ml.models.loading import load_tokenizer
from studio.ml.reward.rows import encode_rows as encode_reward_rows
from studio.ml.training.pairs import encode_heldout, encode_rows
from studio.services import Services
from studio.services.align.form import AlignForm
from studio.services.data.row_reader import ReadOptions
from studio.services.library.model_card import model_card
from studio.services.reward.service import RewardForm
from studio.services.runs.job import read_job
from studio.services.worker.run import recipe_rows
from tests.helpers.services import opened, settings_in

pytestmark = pytest.mark.timeout(300)
LONG = "word " * 700


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)
    with opened(settings_in(tmp_path)) as made:
        yield made


def dataset(services: Services, tmp_path: Path) -> str:
    """Six pairs, and one that is broken: the second has a prompt that leaves no room, an answer of the fourth is too long."""
    rows: list[dict[str, Any]] = [{"prompt": f"Tea {n}?", "chosen": f"Yes, {n}.", "rejected": "No."} for n in range(6)]
    rows[1]["prompt"] += LONG
    rows[3]["chosen"] += LONG
    path = tmp_path / "tea.json"
    path.write_text(json.dumps([*rows, {**rows[0], "rejected": ""}]))
    return services.datasets.import_file(path, options=ReadOptions(skip_broken=True)).dataset.id


def align_form(services: Services, tmp_path: Path, long_rows: str) -> AlignForm:
    form = AlignForm.from_preset(
        "embedded", "embedded", dataset_id=dataset(services, tmp_path), support_ratio=0.5, data_size=6
    )
    return replace(form, settings=replace(form.settings, long_rows=long_rows, max_length=256))


def test_they_are_told_and_left_out_of_the_recipe(services: Services, tmp_path: Path) -> None:
    form = align_form(services, tmp_path, "cut")
    fit = services.align.fit(form)
    assert fit is not None
    assert [(row.place, row.pair_id) for row in fit.left_out] == [(1, "2")]
    assert fit.cut == 1
    assert "1 of 6 rows is too long and left out (row 2: its prompt of" in str(fit)
    assert "1 answers are cut at 256 tokens" in str(fit)
    view = services.runs.get(services.align.start(form))
    recipe = PairRecipe.of(view.recipe)
    assert (recipe.row_ids, recipe.left_out, recipe.cut) == (("1", "3", "4", "5", "6"), ("2",), 1)
    assert recipe.rows_support == (True, True, False, False, False)  # the dial was set on the rows asked for
    card = model_card(view)
    assert "left out as too long: 1; answers cut at 256 tokens: 1" in card
    assert "1 broken rows left out: row 7: rejected is empty" in card
    job = read_job(view.folder)
    rows = recipe_rows(job.recipe, job.dataset)
    tokenizer = load_tokenizer(services.models.resolve("embedded").path)
    assert len(encode_rows(tokenizer, rows, "", 256)) == 5

    left_out = services.align.fit(replace(form, settings=replace(form.settings, long_rows="leave-out")))
    assert left_out is not None
    assert ([row.pair_id for row in left_out.left_out], left_out.cut) == (["2", "4"], 0)
    roomy = services.align.fit(replace(form, settings=replace(form.settings, max_length=4096)))
    assert roomy is not None
    # the base itself has no more positions
    assert [row.pair_id for row in roomy.left_out] in ([], ["2"])


def test_a_reward_run_reads_answers_whole_unless_it_may_cut_them(services: Services, tmp_path: Path) -> None:
    form = RewardForm.from_preset("embedded", "embedded", dataset_id=dataset(services, tmp_path), data_size=6)
    form = replace(form, settings=replace(form.settings, max_length=256))
    whole = services.reward.fit(form)
    cut = services.reward.fit(replace(form, settings=replace(form.settings, long_rows="cut")))
    assert whole is not None
    assert cut is not None
    named = {row.pair_id for row in services.reward.preview(form).data.rows}
    assert {row.pair_id for row in whole.left_out} == {"4"} & named
    assert cut.left_out == ()
    assert cut.cut == len({"4"} & named)
    recipe = PairRecipe.of(services.runs.get(services.reward.start(form)).recipe)
    assert set(recipe.left_out) == {"4"} & named
    assert set(recipe.row_ids) == named - {"4"}


def test_where_nothing_fits_the_run_is_refused_before_it_is_queued(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_text(json.dumps([{"prompt": f"Tea {n}? {LONG}", "chosen": "Yes.", "rejected": "No."} for n in range(3)]))
    form = AlignForm.from_preset("embedded", "embedded", support_ratio=1.0, data_size=3)
    form = replace(form, dataset_id=services.datasets.import_file(path).dataset.id)
    with pytest.raises(RecipeError, match="None of the 3 rows can be trained on: 3 of 3 rows are too long"):
        services.align.start(form)
    assert services.runs.ids() == []


def test_a_long_row_or_held_out_pair_fails_no_run(services: Services, tmp_path: Path) -> None:
    data = services.datasets.get(dataset(services, tmp_path))
    form = align_form(services, tmp_path, "cut")
    tokenizer = load_tokenizer(services.models.resolve("embedded").path)
    rows = services.align.preview(form)
    assert len(encode_rows(tokenizer, rows, "", 256)) == 5
    assert len(encode_heldout(tokenizer, data.pairs, "", 256, cut=False)) == 4
    shortened = encode_reward_rows(tokenizer, rows, "", 256, "Row", cut_answers=True)
    assert (shortened.dropped, shortened.shortened) == (0, 1)
    assert max(len(answer) for pair in shortened.pairs for answer in pair) == 256
    with pytest.raises(RecipeError, match="None of the 1 training rows can be used"):
        encode_rows(tokenizer, rows[1:2], "", 256)
