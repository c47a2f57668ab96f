"""Sweeps: their plan, their record and queue, what they come to, how they read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from studio.config import Settings
from studio.domain.sweeps import BlendPoint, MeasuredBlend
from studio.errors import ConflictError, InputError, NotFoundError, RecipeError
from studio.services import Services, build_services
from studio.services.files.records import write_record
from studio.services.runs.recipe_file import read_recipe
from studio.services.sweeps.plan import SweepForm, robust_beside_plain, seeds_from
from studio.services.sweeps.result import csv_file, levels, result, sentences
from tests.helpers.runs import scripted
from tests.helpers.sweeps import align_form, end_run, no_trainer, share
from tests.helpers.waiting import wait_until


@pytest.fixture
def studio(settings: Settings) -> Iterator[Services]:
    with no_trainer(settings):
        yield build_services(settings)


def test_every_combination_is_a_run_and_those_of_a_seed_follow_each_other() -> None:
    form = SweepForm(align_form(), ratios=(0, 1, 0), betas=(0.1, 0.5), seeds=(3, 4))
    made = [(f.settings.seed, f.support_ratio, f.settings.beta) for f in form.forms()]
    assert made == [(s, r, b) for s in (3, 4) for r in (0, 1) for b in (0.1, 0.5)]
    assert form.axis == "ratio"
    assert form.forms()[0].title == "Sweep: ratio 0, seed 3"
    assert {f.settings.sample_every for f in form.forms()} == {0}
    for lists in ({"ratios": (0.5,)}, {"betas": tuple(range(1, 62))}):
        with pytest.raises(InputError, match="2 to 60 runs"):
            SweepForm(align_form(), **lists).forms()
    with pytest.raises(InputError, match="seeds is 0"):
        seeds_from(42, 0)


def test_robust_beside_plain_flips_labels_on_purpose_and_tells_robust_alone(studio: Services) -> None:
    forms = robust_beside_plain(align_form(data_size=40)).forms()
    told = {f.settings.loss_type: (f.settings.label_smoothing, f.settings.flip_share, f.support_ratio) for f in forms}
    assert told == {"sigmoid": (0.0, 0.3, 1.0), "robust": (0.3, 0.3, 1.0), "ipo": (0.0, 0.3, 1.0)}
    rows = [studio.align.preview(form) for form in forms]
    assert rows[0] == rows[1] == rows[2]
    assert sum(row.flipped for row in rows[0]) == 12
    run = studio.runs.get(studio.align.start(forms[0]))
    assert sum(run.recipe.rows_support) == 28  # type: ignore[union-attr]


def test_a_sweep_is_queued_whole_or_not_at_all_and_stops_and_resumes(studio: Services) -> None:
    with pytest.raises(RecipeError, match="loss_type is 'magic'"):
        studio.sweeps.start(SweepForm(align_form(), losses=("sigmoid", "magic")))
    with pytest.raises(RecipeError, match=r"support_ratio is 1\.5"):
        studio.sweeps.start(SweepForm(align_form(), ratios=(0, 1.5)))
    assert studio.runs.ids() == [] == studio.sweeps.list()
    sweep_id = studio.sweeps.start(SweepForm(align_form(), ratios=(0, 0.5, 1)))
    assert [sweep.id for sweep in studio.sweeps.list()] == [sweep_id]
    view = studio.sweeps.get(sweep_id)
    assert [run.recipe.support_ratio for run in view.here] == [0, 0.5, 1]  # type: ignore[union-attr]
    assert (view.ended, view.moving, view.resumable) == (0, True, False)
    with pytest.raises(ConflictError, match="No run"):
        studio.sweeps.resume(sweep_id)
    studio.sweeps.stop(sweep_id)
    assert [run.status.state for run in studio.sweeps.get(sweep_id).here] == ["stopped"] * 3
    with pytest.raises(ConflictError, match="nothing to stop"):
        studio.sweeps.stop(sweep_id)
    studio.sweeps.resume(sweep_id)
    assert [run.status.state for run in studio.sweeps.get(sweep_id).here] == ["queued"] * 3
    # the runs are the truth: a record without any is none any more
    studio.runs.delete(view.sweep.runs[0].run)
    assert studio.sweeps.get(sweep_id).runs[0] is None
    for run in view.sweep.runs[1:]:
        studio.runs.delete(run.run)
    assert studio.sweeps.list() == []
    for wrong, kind in (("../../x", InputError), ("sweep-20260101-000000-abcd", NotFoundError)):
        with pytest.raises(kind):
            studio.sweeps.get(wrong)


def test_one_that_fails_leaves_the_others(settings: Settings) -> None:
    with no_trainer(settings):
        studio = build_services(settings)
        sweep_id = studio.sweeps.start(SweepForm(align_form("steps=2"), ratios=(0, 0.5, 1)))
        second = studio.sweeps.get(sweep_id).here[1].folder / "run.json"
        write_record(second, replace(read_recipe(second), system_prompt="steps=2 then=raise:NaN"))
    with scripted(settings):
        wait_until(lambda: not studio.sweeps.get(sweep_id).moving)
    view = studio.sweeps.get(sweep_id)
    assert [run.status.state for run in view.here] == ["done", "failed", "done"]
    assert view.resumable
    found = result(view)
    assert [point["share"] for point in found["points"]] == [0.9, None, 0.9]
    assert found["sentence"].endswith("1 run ended without a measured share.")


def test_points_spread_base_and_sentence(studio: Services) -> None:
    sweep_id = studio.sweeps.start(SweepForm(align_form(), ratios=(0, 0.5, 1), seeds=(1, 2)))
    counts = {(1, 0): 1, (1, 0.5): 12, (1, 1): 20, (2, 0): 3, (2, 0.5): 8, (2, 1): 20}
    for planned in studio.sweeps.get(sweep_id).sweep.runs:
        end_run(studio, planned.run, share(counts[planned.seed, planned.ratio], 20))
    view = studio.sweeps.get(sweep_id)
    low, middle, high = levels(view)
    assert (low.share, middle.share, high.share) == pytest.approx((0.1, 0.5, 1.0))
    assert (middle.lowest, middle.highest, middle.n, middle.runs) == (0.4, 0.6, 40, 2)
    assert middle.interval.low == pytest.approx(0.352, abs=1e-3)  # Wilson, 20 of 40
    found = result(view)
    assert found["base"] == pytest.approx(
        {"share": 0.45, "low": 0.307, "high": 0.602, "n": 40, "abstained": 4}, abs=1e-3
    )
    assert set(found["points"][0]) >= {"ratio", "seed", "share", "low", "high", "n", "run"}
    said = " ".join(sentences(view))
    assert "from 10% (asked for 0%) to 100% (asked for 100%), rising at every step" in said
    assert "farthest from the diagonal at 0%, by 10 points, and 2 of 3 intervals" in said
    assert "Seeds of one setting lie up to 20 points apart." in said
    lines = list(csv.DictReader(io.StringIO(csv_file(view).decode("utf-8-sig"))))
    assert [line["seed"] for line in lines] == ["1", "1", "1", "2", "2", "2"]
    blend = MeasuredBlend(view.sweep.runs[2].run, view.sweep.runs[0].run, (BlendPoint(0.5, share(11, 20)),))
    studio.sweeps.keep_blend(sweep_id, blend)
    assert json.loads(json.dumps(result(studio.sweeps.get(sweep_id))))["blend"]["points"][0]["share"] == 0.55


def test_losses_are_told_apart_only_where_their_intervals_are(studio: Services) -> None:
    form = robust_beside_plain(align_form(data_size=10))
    for plain, words in ((8, "lies apart"), (19, "cannot tell them apart")):
        sweep_id = studio.sweeps.start(form)
        counts = {"sigmoid": plain, "robust": 20, "ipo": 5}
        for planned in studio.sweeps.get(sweep_id).sweep.runs:
            end_run(studio, planned.run, share(counts[planned.loss], 20))
        said = " ".join(sentences(studio.sweeps.get(sweep_id)))
        assert said.startswith("Asked for 100% with 30% of the labels flipped: loss sigmoid:")
        assert "Nearest to that is loss robust" in said
        assert words in said
