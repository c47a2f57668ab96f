"""``RUN@STEP``: the adapter of a run as it was at a step of its training, where a snapshot of that is kept."""

from __future__ import annotations

from pathlib import Path

from studio.domain.chat import VECTOR
from studio.errors import ConflictError, InputError, NotFoundError
from studio.ml.lora.snapshots import kept_steps, mark_used, step_folder
from studio.services.runs.store import RunView


def at_step(run_id: str, step: int | None) -> str:
    """The name of a run's adapter at a step; None: at its end, the run's own."""
    return run_id if step is None else f"{run_id}@{step}"


def split_step(name: str) -> tuple[str, int | str | None]:
    """Run id and step of an adapter's name; ``VECTOR`` in the step's place for a run's steering vector.

    Raises:
        InputError: what stands behind the @ is no step.
    """
    run_id, mark, step = name.partition("@")
    if step == VECTOR:
        return run_id, VECTOR
    if mark and not (step.isascii() and step.isdigit() and len(step) < 10):
        raise InputError(
            f"{name[:80]!r} names no step; write RUN@STEP with a whole number, RUN@{VECTOR}, or RUN for its end."
        )
    return run_id, int(step) if mark else None


def run_of(name: str) -> str:
    """The run id in an adapter's name."""
    return name.partition("@")[0]


def steps_of(run: RunView) -> tuple[int, ...]:
    """The steps at which a run's adapter can be asked, lowest first."""
    return kept_steps(run.folder)


def adapter_folder(run: RunView, step: int | None) -> Path:
    """Where a run's adapter lies that answers; a snapshot is not deleted for a while then.

    Raises:
        ConflictError: the run gives no answers, or none yet. NotFoundError: it keeps no snapshot of that step.
    """
    if run.method == "reward":
        raise ConflictError(f"Run {run.run_id} is a reward model; it scores answers and gives none.")
    kept = steps_of(run)
    if step is None:
        if run.has_adapter:
            return run.folder
        way = f" Its steps can be asked, such as {at_step(run.run_id, kept[-1])}." if kept else ""
        raise ConflictError(f"Run {run.run_id} has no adapter yet; it is {run.status.state}.{way}")
    if step not in kept:
        there = f"those of step {', '.join(map(str, kept))}" if kept else "none"
        raise NotFoundError(f"Run {run.run_id} keeps no snapshot of step {step}; it keeps {there}.")
    place = step_folder(run.folder, step)
    mark_used(place)
    return place
