"""``run.json``: the recipe of a run as a file, in today's shape or in the one of schema 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from studio.domain.runs import DetoxRecipe, DpoRecipe, ImportedRecipe, KtoRecipe, Recipe, RewardRecipe
from studio.errors import InputError
from studio.services.files.records import parse, read_json

_KINDS = {
    "dpo": DpoRecipe,
    "kto": KtoRecipe,
    "reward": RewardRecipe,
    "detox": DetoxRecipe,
    "unknown": ImportedRecipe,
}


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it cannot be read, is not JSON, or not a recipe; the message names the file and the field.
    """
    return parse_recipe(read_json(path), f"{path.parent.name}/{path.name}")


def parse_recipe(data: Any, where: str) -> Recipe:
    """A recipe from decoded JSON; unknown keys are ignored, so that newer files stay readable.

    Raises:
        InputError: it is not a recipe; the message begins with ``where`` and names the field.
    """
    method = data.get("method") if isinstance(data, dict) else None
    if not isinstance(method, str) or method not in _KINDS:
        raise InputError(f"{where}: method is {repr(method)[:60]}; it must be one of {', '.join(_KINDS)}.")
    if "settings" not in data:
        data = _from_schema_1(data, where)
    return cast(Recipe, parse(_KINDS[method], data, where))


def _from_schema_1(data: dict[str, Any], where: str) -> dict[str, Any]:
    """One record for all methods: settings under the method's name, and for what a method lacks a value that means nothing."""
    method, rows = data["method"], data.get("row_ids", ())
    settings = data.get(method)
    if method != "unknown":
        if not isinstance(settings, dict):
            raise InputError(f"{where} says method {method}, but holds no settings for it.")
        if data.get("data_size") != len(rows):
            raise InputError(f"{where}: data_size is {data.get('data_size')}, but it lists {len(rows)} rows.")
        settings = {**settings, "stance_prefix": settings.get("side_first", False)}
    named = {"dataset_id": ""} if method == "detox" and data.get("dataset_id") == "prompts" else {}
    return {**data, **named, "settings": settings if method != "unknown" else None, "schema": 2}
