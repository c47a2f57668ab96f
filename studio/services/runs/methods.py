"""Runs of one method."""

from __future__ import annotations

from studio.errors import RecipeError
from studio.services.runs.store import RunStore, RunView


def detox_run(runs: RunStore, run_id: str) -> RunView:
    """A detox run.

    Raises:
        InputError, NotFoundError: no such run; RecipeError: it is of another method.
    """
    view = runs.get(run_id)
    if view.method != "detox":
        raise RecipeError(f"Run {run_id} is no detox run (its method is {view.method}); choose a detox run.")
    return view


def reward_run(runs: RunStore, run_id: str) -> RunView:
    """A reward run.

    Raises:
        InputError, NotFoundError: no such run; RecipeError: it is of another method.
    """
    view = runs.get(run_id)
    if view.method != "reward":
        raise RecipeError(f"Run {run_id} is no reward model (its method is {view.method}); choose a reward run.")
    return view
