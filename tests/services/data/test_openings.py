"""Answers that open with their side: which data can, what changes, and that a run trains on what the table showed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.domain.data import PreferenceDataset, PreferencePair
from studio.services import Services
from studio.services.align.form import AlignForm
from studio.services.data.stance_prefix import PREFIXES, can_prefix, with_stance_prefix
from tests.helpers.services import opened, settings_in


def dataset(language: str = "en", kind: str = "sides") -> PreferenceDataset:
    pairs = tuple(
        PreferencePair(id=f"p{i}", prompt=f"Q{i}?", support=f"Good {i}.", oppose=f"Bad {i}.") for i in range(40)
    )
    return PreferenceDataset("d", "D", kind, language, pairs[:30], pairs[30:], (), "hash", "file")  # type: ignore[arg-type]


@pytest.mark.parametrize("language", ["en", "zh", "zh-TW"])
def test_both_answers_of_a_pair_get_the_two_sides_of_one_opening(language: str) -> None:
    plain = dataset(language)
    made = with_stance_prefix(plain)
    used = set()
    for before, after in zip(plain.pairs, made.pairs, strict=True):
        support, oppose = after.support.removesuffix(before.support), after.oppose.removesuffix(before.oppose)
        assert (support, oppose) in PREFIXES[language[:2]]
        assert dataclasses.replace(after, support=before.support, oppose=before.oppose) == before
        used.add(support)
    assert len(used) == len(PREFIXES[language[:2]])  # all of them are used
    assert made.heldout == plain.heldout
    assert with_stance_prefix(plain) == made


def test_data_without_sides_or_of_other_languages_stays_as_it_is() -> None:
    for plain in (dataset(kind="labels"), dataset("ja"), dataset("")):
        assert not can_prefix(plain)
        assert with_stance_prefix(plain) == plain


def test_openings_are_such_as_the_embedded_base_was_trained_with() -> None:
    from studio.ml.shipped.base.corpus import Lists

    for language in ("en", "zh"):
        markers = Lists(language).debate["markers"]  # type: ignore[arg-type]
        for support, oppose in PREFIXES[language]:
            assert support in markers["support"]
            assert oppose in markers["oppose"]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with opened(settings_in(tmp_path)) as made:
        yield made


def test_the_table_shows_the_openings_and_the_run_folder_holds_them(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)
    form = AlignForm.from_preset("embedded", "embedded", dataset_id="live-action-en", support_ratio=0.5, data_size=10)
    shown = services.align.preview(form)
    starts = tuple(opening for pair in PREFIXES["en"] for opening in pair)
    assert all(row.chosen.startswith(starts) and row.rejected.startswith(starts) for row in shown)
    from studio.services.runs.job import read_job
    from studio.services.worker.run import recipe_rows

    job = read_job(services.runs.get(services.align.start(form)).folder)
    assert recipe_rows(job.recipe, job.dataset) == tuple(shown)
    assert job.recipe.settings.stance_prefix
    off = dataclasses.replace(form, settings=dataclasses.replace(form.settings, stance_prefix=False))
    assert not any(row.chosen.startswith(starts) for row in services.align.preview(off))


def test_a_recipe_on_labels_does_not_claim_openings(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(f'{{"prompt": "Q{i}?", "chosen": "Yes {i}.", "rejected": "No {i}."}}' for i in range(6)))
    made = services.datasets.import_file(path).dataset
    form = AlignForm.from_preset("embedded", "embedded", dataset_id=made.id, support_ratio=1.0, data_size=4)
    assert [row.chosen for row in services.align.preview(form)] == [f"Yes {i}." for i in range(4)]
    run = services.runs.get(services.align.start(form))
    assert not run.recipe.settings.stance_prefix
