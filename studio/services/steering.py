"""The baseline without training, measured: which side the steering vector of a run's answers takes, beside what training made of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from studio.domain.chat import VECTOR
from studio.domain.events import MeasureEvent, SupportShare
from studio.domain.runs import FINAL_STATES, align_recipe
from studio.errors import ConflictError
from studio.services.compare.measure import measured_as
from studio.services.compare.service import CompareService
from studio.services.files.records import LineWriter
from studio.services.runs.store import RunStore
from studio.services.strength import check_strength

STRENGTHS = (1.0, 2.0)


class SteeringService:
    """Measures steering vectors and keeps that in their runs' folders."""

    def __init__(self, runs: RunStore, compare: CompareService) -> None:
        self._runs = runs
        self._compare = compare

    def measure(
        self,
        run_id: str,
        strengths: Sequence[float] = STRENGTHS,
        tell: Callable[[float, str], None] = lambda share, text: None,
        stop: threading.Event | None = None,
    ) -> tuple[tuple[float, SupportShare], ...]:
        """Measure the vector of a run's answers at these strengths as the run itself was measured, and keep each share among the run's events
        as it is there; all that are known now. ``tell`` hears how far it is, 0 to 1, and in words.

        Raises:
            InputError, NotFoundError: no such run, it carries no data, or a strength is out of range. RecipeError: it is neither a DPO nor a KTO run.
            ConflictError: it has not ended. StudioError: as :meth:`CompareService.stream`.
        """
        run = self._runs.get(run_id)
        align_recipe(run.recipe)
        if run.status.state not in FINAL_STATES:
            raise ConflictError(f"Run {run_id} is {run.status.state}; measure the steering vector once it has ended.")
        wanted = tuple(dict.fromkeys(check_strength(strength) for strength in strengths))
        data = self._runs.dataset(run_id)
        for place, strength in enumerate(wanted):

            def answered(done: int, total: int, place: int = place, strength: float = strength) -> None:
                tell(
                    (place + done / total) / len(wanted),
                    f"Steering vector at strength {strength:g}: {done} of {total} answers.",
                )

            share = measured_as(self._compare, run, data, f"{run_id}@{VECTOR}", strength, stop=stop, tell=answered)
            if share is None:
                break
            LineWriter(self._runs.folder(run_id) / "events.jsonl").write(MeasureEvent("vector", 0, share, strength))
        return self._runs.get(run_id).vector_shares
