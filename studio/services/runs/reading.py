"""What is to be said of a run of any method: that it changed nothing, that it was not measured."""

from __future__ import annotations

from studio.domain.detox import DetoxSettings
from studio.domain.runs import Recipe
from studio.domain.settings import AnswerSettings
from studio.services.runs.store import RunView

#: What a run, its card and its result say where nothing was measured on purpose.
NOT_MEASURED = "Measuring was switched off for this run (answers measured: 0)."


def unchanged(run: RunView) -> str:
    """That the adapter equals what the run started from, and what to change; empty for a run of which that is not known."""
    if run.change is None or run.change.norm > 0:
        return ""
    start = "the adapter it started from" if run.recipe.start_run else "the base"
    return (
        f"The adapter equals {start}: this run trained nothing, so it answers as before. Train for more steps, without warm-up, or with a "
        "higher learning rate."
    )


def start_text(recipe: Recipe) -> str:
    """What a run started from."""
    return f"run {recipe.start_run}, adapter {recipe.start_hash}" if recipe.start_run else "the base"


def measuring_off(run: RunView) -> str:
    """That no answers were measured because the run was asked to measure none; else empty."""
    settings = run.recipe.settings
    off = isinstance(settings, AnswerSettings | DetoxSettings) and settings.measured_answers == 0
    return NOT_MEASURED if off else ""
