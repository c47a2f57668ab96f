"""The queue of runs: put one in, put one in again, follow one to its end."""

from __future__ import annotations

import time
from collections.abc import Callable

from studio.config import Settings
from studio.domain.data import PreferenceDataset
from studio.domain.detox import DetoxPlan
from studio.domain.runs import Recipe, RunStatus
from studio.services.recipes.queue import check_ray, ensure_trainer
from studio.services.runs.events import Event
from studio.services.runs.store import RunStore, RunView


class RunQueue:
    """Runs on their way to the trainer process. Safe to use from many threads."""

    def __init__(self, settings: Settings, runs: RunStore) -> None:
        self._settings = settings
        self._runs = runs

    def start(self, recipe: Recipe, dataset: PreferenceDataset | None, plan: DetoxPlan | None = None) -> RunView:
        """Write the run's folder, with its data or the prompts of a detox run, and see to it that it is trained.

        Raises:
            ConflictError: a run of that id exists. NotInstalledError: as :func:`check_ray`.
        """
        check_ray(self._settings)
        self._runs.create(recipe, dataset, plan)
        ensure_trainer(self._settings)
        return self._runs.get(recipe.run_id)

    def resume(self, run_id: str) -> None:
        """Queue a stopped, failed or interrupted run again; it goes on from its checkpoint.

        Raises:
            InputError, NotFoundError, ConflictError: as ``RunStore.resume``. NotInstalledError: as :func:`check_ray`.
        """
        check_ray(self._settings)
        self._runs.resume(run_id)
        ensure_trainer(self._settings)

    def wait(
        self,
        run_id: str,
        on_event: Callable[[Event], None],
        poll_s: float = 0.1,
        on_status: Callable[[RunStatus], None] = lambda status: None,
    ) -> RunView:
        """Follow a run in the foreground until it ends, handing each event to ``on_event`` and at each look its status to ``on_status``.

        Keeps the trainer alive meanwhile, and starts another if it was killed.

        Raises:
            InputError, NotFoundError: no such run, or it was discarded meanwhile.
        """
        offset, ensured = 0, 0.0
        while True:
            final = self._runs.ended(run_id)
            events, offset = self._runs.events(run_id, offset)
            on_status(self._runs.status(run_id))
            for event in events:
                on_event(event)
            if final:
                return self._runs.get(run_id)
            if time.monotonic() - ensured > 5.0:
                ensure_trainer(self._settings)
                ensured = time.monotonic()
            time.sleep(poll_s)
