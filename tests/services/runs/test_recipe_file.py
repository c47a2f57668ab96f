"""run.json: what is written is read again, and runs of older versions load as what they were."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from studio.config import ROOT
from studio.domain.runs import DetoxRecipe, DpoRecipe, ImportedRecipe, Recipe, RewardRecipe
from studio.errors import InputError, RecipeError
from studio.services.files.records import write_record
from studio.services.runs.recipe_file import parse_recipe, read_recipe
from tests.helpers.detox_records import detox_recipe
from tests.helpers.runs import make_recipe

#: What every run of schema 1 had, in the values of a run on three pairs.
OLD: dict[str, Any] = {
    "run_id": "old-run",
    "title": "Old",
    "base": {"id": "embedded", "revision": "", "fingerprint": "f"},
    "dataset_id": "toy",
    "dataset_title": "Toy",
    "dataset_hash": "0",
    "dataset_kind": "sides",
    "support_ratio": 0.5,
    "data_size": 3,
    "shuffle": True,
    "system_prompt": "Be brief.",
    "preset": "embedded",
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.0, "target_modules": "q,v"},
    "dpo": None,
    "reward": None,
    "detox": None,
    "row_ids": ["a", "b", "c"],
    "rows_support": [True, False, True],
    "created": 5.0,
    "versions": {"torch": "2"},
    "start_run": "",
    "start_hash": "",
    "schema": 1,
}


def read_old(method: str, **changes: Any) -> Recipe:
    return parse_recipe(json.loads(json.dumps({**OLD, "method": method, **changes})), "old-run/run.json")


@pytest.mark.parametrize("name", ["demo-support-10", "demo-support-90"])
def test_the_shipped_runs_load(name: str) -> None:
    written = json.loads((ROOT / "adapters" / name / "run.json").read_text(encoding="utf-8"))
    recipe = DpoRecipe.of(read_recipe(ROOT / "adapters" / name / "run.json"))
    assert (recipe.settings.beta, recipe.settings.replay_weight, recipe.settings.epochs) == (0.01, 0.7, 8.0)
    assert recipe.settings.stance_prefix
    assert (recipe.lora.rank, recipe.data_size, list(recipe.row_ids)) == (16, 50, written["row_ids"])


def test_an_old_dpo_run_keeps_its_settings() -> None:
    recipe = read_old("dpo", dpo={"side_first": True, "beta": 0.2, "max_length": 256})
    assert isinstance(recipe, DpoRecipe)
    assert (recipe.settings.stance_prefix, recipe.settings.beta, recipe.settings.max_length) == (True, 0.2, 256)
    assert (recipe.shuffle, recipe.support_ratio, recipe.rows_support) == (True, 0.5, (True, False, True))
    assert not DpoRecipe.of(read_old("dpo", dpo={"beta": 0.2})).settings.stance_prefix


def test_an_old_reward_run_keeps_its_settings() -> None:
    recipe = read_old("reward", reward={"center_rewards": 0.3, "epochs": 2.0})
    assert isinstance(recipe, RewardRecipe)
    assert (recipe.settings.center_rewards, recipe.settings.epochs, recipe.data_size) == (0.3, 2.0, 3)


def test_an_old_detox_run_loses_the_values_that_meant_nothing() -> None:
    settings = {"algorithm": "grpo", "rewards": [{"scorer": "words", "weight": 2.0, "revision": "r"}], "steps": 9}
    faked = {"dataset_id": "prompts", "support_ratio": 0.0, "rows_support": [], "start_run": "dpo-1", "start_hash": "h"}
    recipe = read_old("detox", detox=settings, **faked)
    assert isinstance(recipe, DetoxRecipe)
    assert (recipe.dataset_id, recipe.row_ids) == ("", ("a", "b", "c"))
    assert (recipe.settings.algorithm, recipe.settings.steps, recipe.settings.rewards[0].scorer) == ("grpo", 9, "words")
    assert (recipe.start_run, recipe.start_hash) == ("dpo-1", "h")
    assert not hasattr(recipe, "support_ratio")


def test_an_old_imported_adapter_has_no_settings() -> None:
    recipe = read_old("unknown", dpo={"beta": float("nan")}, row_ids=[], rows_support=[], data_size=0)
    assert isinstance(recipe, ImportedRecipe)
    assert (recipe.settings, recipe.lora.rank, recipe.data_size) == (None, 4, 0)


@pytest.mark.parametrize("recipe", [make_recipe("one"), detox_recipe()])
def test_a_recipe_is_read_as_it_was_written(recipe: Recipe, tmp_path: Path) -> None:
    write_record(tmp_path / "run.json", recipe)
    assert read_recipe(tmp_path / "run.json") == recipe
    assert json.loads((tmp_path / "run.json").read_text())["schema"] == 2


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        ("sft", {}, r"old-run/run\.json: method is 'sft'"),
        ("reward", {"dpo": {}}, "says method reward, but holds no settings"),
        ("dpo", {"dpo": {}, "data_size": 99}, "data_size is 99, but it lists 3 rows"),
        ("dpo", {"dpo": {"beta": "much"}}, r"old-run/run\.json: settings\.beta"),
    ],
)
def test_an_old_recipe_that_is_none_is_named(method: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_old(method, **changes)


def test_a_recipe_of_another_method_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"Run one is no reward model \(its method is dpo\)"):
        RewardRecipe.of(make_recipe("one"))
    assert dataclasses.replace(DpoRecipe.of(make_recipe("one", created=1.0)), created=2.0).created == 2.0
