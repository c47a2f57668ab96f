"""The adapter that a run goes on from: what there is to choose, and whether it is still the one that was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studio.domain.runs import Recipe
from studio.errors import ConflictError, RecipeError, StudioError, TrainingError
from studio.i18n import Named
from studio.services.runs.store import RunStore


def starts(runs: RunStore, base: str) -> list[tuple[str, str]]:
    """(label, run id) of what a run on ``base`` can start from; the base itself first, with an empty id."""
    return [("The base itself", "")] + [
        (Named(run.title, run.adapter_hash), run.run_id)
        for run in runs.list()
        if run.has_adapter and run.method != "reward" and run.recipe.base.id == base
    ]


def start_fields(runs: RunStore, run_id: str, base: str) -> dict[str, Any]:
    """The fields of a recipe that name the run to go on from; empty ones for the base itself.

    Raises:
        InputError, NotFoundError: no such run.
        ConflictError: it has no adapter that answers. RecipeError: its base is another one.
    """
    if not run_id:
        return {}
    start = runs.get(run_id)
    if start.method == "reward":
        raise ConflictError(f"Run {run_id} is a reward model; a run goes on from an adapter that answers.")
    if not start.has_adapter:
        raise ConflictError(f"Run {run_id} has no adapter yet; it is {start.status.state}.")
    if start.recipe.base.id != base:
        raise RecipeError(
            f"start_run is {run_id}, an adapter of {start.recipe.base.id}, and the base is {base}; choose one base for both."
        )
    return {"start_run": run_id, "start_hash": start.adapter_hash}


def start_folder(runs: RunStore, recipe: Recipe) -> Path | None:
    """Where the adapter lies that a run goes on from; None: it starts from the base.

    Raises:
        TrainingError: it is gone, or another one by now.
    """
    if not recipe.start_run:
        return None
    try:
        start = runs.get(recipe.start_run)
        if start.adapter_hash != recipe.start_hash:
            raise ConflictError(f"its adapter is {start.adapter_hash or 'missing'} now, not {recipe.start_hash}.")
    except StudioError as error:
        raise TrainingError(f"The run {recipe.start_run}, which this one goes on from, has changed: {error}") from error
    return start.folder
