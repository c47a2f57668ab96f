"""The blend curve: what the blends of a sweep's two outer adapters answer, measured as their trained runs are."""

from __future__ import annotations

import threading
from collections.abc import Callable

from studio.domain.chat import Blend
from studio.domain.events import SupportShare
from studio.domain.sweeps import BlendPoint, MeasuredBlend
from studio.errors import ConflictError
from studio.services.compare.measure import measured_as
from studio.services.compare.service import CompareService
from studio.services.jobs import Job, JobEnd, JobQueue
from studio.services.runs.store import RunStore, RunView
from studio.services.sweeps.service import SweepService, SweepView

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


class BlendService:
    """Measures in the background of the server, one sweep at a time, or in the foreground."""

    def __init__(self, runs: RunStore, compare: CompareService, sweeps: SweepService) -> None:
        self._runs = runs
        self._compare = compare
        self._sweeps = sweeps
        self._jobs = JobQueue("blends")
        self._failures: dict[str, str] = {}

    def start(self, sweep_id: str) -> None:
        """Measure the blends of a sweep in the background.

        Raises:
            NotFoundError, ConflictError: as :meth:`measure`; ConflictError also where that is being done.
        """
        ends(self._sweeps.get(sweep_id))
        if self._jobs.has(sweep_id):
            raise ConflictError("The blend of this sweep is being measured already.")

        def ended(job: Job, how: JobEnd, sentence: str) -> None:
            if how == "failed":
                self._failures[sweep_id] = sentence

        def work(job: Job) -> None:
            def tell(text: str) -> None:
                job.note = text

            self.measure(sweep_id, tell, job.stop)

        self._failures.pop(sweep_id, None)
        self._jobs.add(Job(sweep_id, work, ended))

    def state(self, sweep_id: str) -> str:
        """What is being done for a sweep, or why it failed; empty mostly."""
        job = self._jobs.find(sweep_id)
        return job[0].note or "Waiting." if job else self._failures.get(sweep_id, "")

    def measuring(self, sweep_id: str) -> bool:
        """Whether a sweep's blend is being measured or waits for that."""
        return self._jobs.has(sweep_id)

    def cancel(self, sweep_id: str) -> bool:
        """End the measuring of a sweep; whether there was any."""
        return self._jobs.cancel(sweep_id)

    def measure(
        self, sweep_id: str, tell: Callable[[str], None] = lambda text: None, stop: threading.Event | None = None
    ) -> None:
        """Measure the blends of a sweep's outer ratios at :data:`WEIGHTS`, and keep that with the sweep: the same prompts, draws a prompt,
        judge and sampling as the runs' own measure, through the chat engine.

        Raises:
            NotFoundError: there is no such sweep. ConflictError: it has no two ratios with adapters.
            StudioError: as :meth:`CompareService.stream`.
        """
        low, high = ends(self._sweeps.get(sweep_id))
        data = self._runs.dataset(high.run_id)
        points = []
        for weight in WEIGHTS:
            tell(f"Measuring the blend: weight {weight:g} of {high.title}.")
            blend = Blend(low.run_id, weight)
            share = measured_as(self._compare, high, data, high.run_id, blend=blend, stop=stop)
            if share is None:
                return
            points.append(BlendPoint(weight, share))
        self._sweeps.keep_blend(sweep_id, MeasuredBlend(high.run_id, low.run_id, tuple(points)))


def ends(view: SweepView) -> tuple[RunView, RunView]:
    """The runs of a sweep's lowest and highest ratio, both of its first seed and line that has them.

    Raises:
        ConflictError: there are no two such runs with adapters.
    """
    groups: dict[tuple[object, ...], list[tuple[float, RunView]]] = {}
    for planned, run in view.pairs():
        if run is not None and run.has_adapter and run.adapter_share is not None:
            key = planned.seed, planned.loss, planned.data_size, planned.beta
            groups.setdefault(key, []).append((planned.ratio, run))
    for group in groups.values():
        ordered = sorted(group, key=lambda pair: pair[0])
        if ordered[0][0] < ordered[-1][0]:
            return ordered[0][1], ordered[-1][1]
    raise ConflictError("A blend needs two measured runs of different ratios; let the sweep end, or sweep the ratio.")


def share_at(blend: MeasuredBlend, low: float, high: float) -> list[tuple[float, SupportShare]]:
    """The blend's points where a trained ratio would stand: weight 1 at ``high``, 0 at ``low``."""
    return [(low + point.weight * (high - low), point.measured) for point in blend.points]
