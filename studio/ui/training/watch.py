"""What one page is looking at: a run, the runs laid over it, and what was read of their events so far."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

from studio.domain.events import DetoxEvent, ProbeEvent, StepEvent
from studio.domain.runs import FINAL_STATES, DetoxRecipe, PairRecipe
from studio.errors import NotFoundError, StudioError
from studio.services.runs.events import Event, drop_superseded
from studio.services.runs.store import RunStore, RunView
from studio.ui.page.shared import LIVE_S
from studio.ui.training.charts import Curve


class Watch:
    """Held in a ``gr.State`` and changed in place, never handed back as an output: a slow timer tick that began before
    another run was opened would put the old run back. Handlers hold ``lock`` while they look and draw. Not a dataclass,
    since Gradio would take it apart.

    Attributes:
        new: nothing was drawn on this page yet.
        follow: the film-strip shows the newest answers; False once a person turned it back.
        offered: whether the button of the faster preset is shown.
        shown_state: the run's state when it was last drawn; empty asks for a full redraw.
        shown_history: lines of the history table as last sent; ``shown_film`` the film-strip, ``shown_end`` its last step and
            whether it was followed; ``shown_texts`` what stands beside the curves, by component.
        interval: seconds between two ticks of the page's timer.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.interval = LIVE_S
        self.ticks = 0
        self.new = True
        self.shown_history: list[list[object]] | None = None
        self.open(None)

    def __deepcopy__(self, memo: dict[int, Any]) -> Watch:
        """Gradio copies the first value for each page."""
        return Watch()

    def open(self, run_id: str | None) -> None:
        """Look at another run, from its first event on."""
        self.run_id = run_id
        self.overlay: list[str] = []
        self.follow = True
        self.shown_film: str | None = None
        self.shown_end: tuple[int, bool] | None = None
        self.shown_texts: dict[Any, str] = {}
        self.shown_state = ""
        self.offered = False
        self._offsets: dict[str, int] = {}
        self._events: dict[str, list[Event]] = {}

    def run(self, runs: RunStore) -> RunView | None:
        """The open run as it stands; None where there is none or it is gone."""
        return find(runs, self.run_id)

    def chosen(self, runs: RunStore) -> RunView:
        """The open run.

        Raises:
            NotFoundError: no run is open, or it is gone.
        """
        if self.run_id is None:
            raise NotFoundError("No run is open; click a line of the history first.")
        return runs.get(self.run_id)

    def read(self, runs: RunStore) -> bool:
        """Read new events of the open run and the overlaid ones; whether there were any."""
        fresh = False
        for run_id in self._ids():
            if find(runs, run_id) is None:
                continue
            events, self._offsets[run_id] = runs.events(run_id, self._offsets.get(run_id, 0))
            fresh = fresh or bool(events)
            # a resumed run trains some steps anew
            self._events[run_id] = drop_superseded([*self._events.get(run_id, []), *events])
        return fresh

    def steps(self, run_id: str) -> list[StepEvent]:
        """The optimiser steps read so far."""
        return [e for e in self._events.get(run_id, []) if isinstance(e, StepEvent)]

    def probes(self, run_id: str) -> list[ProbeEvent]:
        """The stance probes read so far."""
        return [e for e in self._events.get(run_id, []) if isinstance(e, ProbeEvent)]

    def detox(self, run_id: str) -> list[DetoxEvent]:
        """The steps of a detox run read so far."""
        events: Sequence[object] = self._events.get(run_id, [])
        return [e for e in events if isinstance(e, DetoxEvent)]

    def curves(self, runs: RunStore) -> list[Curve]:
        """What the charts draw: the open run first."""
        return [self._curve(run) for run_id in self._ids() if (run := find(runs, run_id)) is not None]

    def _curve(self, run: RunView) -> Curve:
        recipe = run.recipe
        return Curve(
            run.run_id,
            run.title,
            recipe.support_ratio if isinstance(recipe, PairRecipe) else math.nan,
            self.steps(run.run_id),
            self.probes(run.run_id),
            self.detox(run.run_id),
            tuple(term.scorer for term in recipe.settings.rewards) if isinstance(recipe, DetoxRecipe) else (),
        )

    def _ids(self) -> list[str]:
        return [run_id for run_id in (self.run_id, *self.overlay) if run_id is not None]


def find(runs: RunStore, run_id: str | None) -> RunView | None:
    """A run, or None where it is gone (deleted from another page) or cannot be read."""
    if run_id is None:
        return None
    try:
        return runs.get(run_id)
    except StudioError:
        return None


def moving(run: RunView) -> bool:
    """Whether a run waits or works."""
    return run.status.state not in FINAL_STATES


def to_watch(listed: Sequence[RunView]) -> str | None:
    """The run a page opens with, of ``listed`` (newest first): the one that works, else the next in line, else the
    newest that came to something, else the newest."""
    live = [run for run in listed if moving(run)]
    working = [run for run in live if run.status.state != "queued"]
    waiting = sorted(live, key=lambda run: run.status.updated)
    ended = [run for run in listed if run.status.state not in ("failed", "interrupted")]
    chosen = next(iter([*working, *waiting, *ended, *listed]), None)
    return chosen.run_id if chosen else None


def ahead_of(run: RunView, listed: Sequence[RunView]) -> int:
    """How many runs come before a queued one."""
    return sum(
        moving(other)
        and other.run_id != run.run_id
        and (other.status.state != "queued" or other.status.updated < run.status.updated)
        for other in listed
    )
