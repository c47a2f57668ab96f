"""The queue of runs: put one in, put one in again, follow one to its end."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable

from studio.config import ZEROGPU, Settings
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
        self._asked: dict[str, contextvars.Context] = {}

    def start(self, recipe: Recipe, dataset: PreferenceDataset | None, plan: DetoxPlan | None = None) -> RunView:
        """Write the run's folder, with its data or the prompts of a detox run, and see to it that it is trained.

        Raises:
            ConflictError: a run of that id exists. NotInstalledError: as :func:`check_ray`.
        """
        check_ray(self._settings)
        self._remember(recipe.run_id)
        self._runs.create(recipe, dataset, plan)
        ensure_trainer(self._settings)
        return self._runs.get(recipe.run_id)

    @property
    def lent(self) -> bool:
        """Whether runs are carried out on a GPU that is lent to them."""
        return self._settings.device == ZEROGPU

    def asker(self, run_id: str) -> contextvars.Context:
        """The context of the request that asked for a run, to whose sender ZeroGPU charges it; an empty one after a restart."""
        return self._asked.pop(run_id, None) or contextvars.Context()

    def _remember(self, run_id: str) -> None:
        if self.lent:
            self._asked[run_id] = contextvars.copy_context()

    def resume(self, run_id: str, device: str = "") -> None:
        """Queue a stopped, failed or interrupted run again; it goes on from its checkpoint, on ``device`` where one is named.

        Raises:
            InputError, NotFoundError, ConflictError: as ``RunStore.resume``. NotInstalledError: as :func:`check_ray`.
        """
        check_ray(self._settings)
        self._remember(run_id)
        self._runs.resume(run_id, device)
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
