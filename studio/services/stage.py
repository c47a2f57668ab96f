"""The stage: which dials the adapters here make, and what was measured along each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from studio.domain.events import SupportShare
from studio.domain.runs import DpoRecipe
from studio.domain.sweeps import Sweep
from studio.errors import ConflictError, NotFoundError
from studio.services.runs.store import RunView


@dataclass(frozen=True)
class Dial:
    """What a person turns: the strength of ``run``'s adapter; or, where there is a ``second`` one, a blend: ``run`` (the higher
    support_ratio) answers with weight w and ``second`` (the lower) with 1 - w. ``start`` is where it stands at first."""

    run: RunView
    second: RunView | None = None
    start: float = 1.0

    @property
    def id(self) -> str:
        """The run ids, joined by ``+`` in a blend."""
        return f"{self.run.run_id}+{self.second.run_id}" if self.second else self.run.run_id


def dials(runs: Sequence[RunView]) -> list[Dial]:
    """The blend of the outer support_ratios of each base and data, then the strength of each adapter.

    Args:
        runs: newest first; of several with one ratio the newest counts.
    """
    answering = [run for run in runs if _answers(run)]
    blends: dict[Hashable, Dial] = {}
    for run in answering:
        dial = dial_of(run, answering)
        if dial.second is not None:
            blends.setdefault(_group(run), dial)
    return [*blends.values(), *(Dial(run) for run in answering)]


def find_dial(runs: Sequence[RunView], name: str) -> Dial:
    """The dial of an id of :attr:`Dial.id`: a run's alone is its :func:`dial_of`.

    Raises:
        NotFoundError: a run is not there. ConflictError: it has no adapter that answers, or the two make no blend.
    """
    known = {run.run_id: run for run in runs}
    parts = name.split("+")[:2]
    for part in parts:
        if part not in known:
            raise NotFoundError(f"There is no run {part[:80]}.")
        if not _answers(known[part]):
            raise ConflictError(f"Run {part} has no adapter that answers; it is {known[part].status.state}.")
    first, *others = (known[part] for part in parts)
    if not others:
        return dial_of(first, [run for run in runs if _answers(run)])
    (second,) = others
    if first == second or _group(first) is None or _group(first) != _group(second):
        raise ConflictError(f"{first.run_id} and {second.run_id} make no dial: they differ in more than support_ratio.")
    return Dial(first, second)


def dial_of(run: RunView, runs: Sequence[RunView]) -> Dial:
    """A run's dial: the blend with the other end of the support_ratios of its base and data where it is an end itself, else its
    own strength."""
    group = _group(run)
    alike = [other for other in runs if group is not None and _group(other) == group]
    if not alike:
        return Dial(run)
    # of equal ratios the first, which is the newest
    low, high, own = min(alike, key=ratio_of), max(alike, key=ratio_of), ratio_of(run)
    if own == ratio_of(high) > ratio_of(low):
        return Dial(run, low)
    if own == ratio_of(low) < ratio_of(high):
        return Dial(high, run, start=0.0)
    return Dial(run)


def ratio_of(run: RunView) -> float:
    """The support_ratio of a DPO run.

    Raises:
        RecipeError: it is of another method.
    """
    return DpoRecipe.of(run.recipe).support_ratio


def measured_along(dial: Dial, sweeps: Sequence[Sweep]) -> dict[float, SupportShare]:
    """What was measured, by the dial's value: the runs' own figures at the ends (of a strength at 0, the base, and at 1), and between
    them the blend curve of a sweep of these two (``sweeps``: newest first). Nothing is estimated."""
    run, second = dial.run, dial.second
    if second is None:
        shares = {0.0: None if run.recipe.start_run else run.base_share, 1.0: run.adapter_share}
    else:
        shares = {0.0: second.adapter_share, 1.0: run.adapter_share}
        for sweep in sweeps:
            blend = sweep.blend
            if blend is not None and (blend.first, blend.second) == (run.run_id, second.run_id):
                for point in blend.points:
                    own = shares.get(point.weight)
                    if own is None or not own.n:
                        shares[point.weight] = point.measured
    return {at: share for at, share in sorted(shares.items()) if share is not None and share.n}


def _answers(run: RunView) -> bool:
    return run.has_adapter and run.method != "reward"


def _group(run: RunView) -> Hashable:
    """What two runs must share to differ in their ratio alone; None for a run without one."""
    recipe = run.recipe
    if not isinstance(recipe, DpoRecipe):
        return None
    return recipe.base.id, recipe.base.fingerprint, recipe.dataset_hash, recipe.system_prompt
