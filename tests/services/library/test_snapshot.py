"""A run's copy of its data must be what the run says it was trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from studio.config import ROOT
from studio.domain.data import PreferenceDataset
from studio.errors import InputError
from studio.services.files.records import parse
from studio.services.library.snapshot import check_snapshot
from studio.services.runs.recipe_file import parse_recipe

RUNS = sorted(path.parent for path in (ROOT / "adapters").glob("demo-*/dataset.json"))


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_the_shipped_ones_are_and_a_changed_answer_is_noticed(folder: Path) -> None:
    dataset = parse(PreferenceDataset, json.loads((folder / "dataset.json").read_text()), "dataset.json")
    recipe = parse_recipe(json.loads((folder / "run.json").read_text()), "run.json")
    check_snapshot(dataset, recipe)
    first, *rest = dataset.pairs
    with pytest.raises(InputError, match=r"dataset\.json was changed"):
        check_snapshot(replace(dataset, pairs=(replace(first, support="something else"), *rest)), recipe)
    with pytest.raises(InputError, match="their hashes differ"):
        check_snapshot(replace(dataset, content_hash="0" * 64), recipe)
