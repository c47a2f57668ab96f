"""Sweeps: queue their runs, stop and resume them, keep their records."""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from studio.config import Settings
from studio.domain.runs import FINAL_STATES, RESUMABLE
from studio.domain.sweeps import MeasuredBlend, Sweep, SweepRun
from studio.errors import ConflictError, InputError, NotFoundError, StudioError
from studio.services.files.records import read_record, write_record
from studio.services.runs.queue import RunQueue
from studio.services.runs.store import RunStore, RunView
from studio.services.sweeps.plan import SweepForm

if TYPE_CHECKING:
    from studio.services.align.service import AlignService
    from studio.services.models.service import Progress

log = logging.getLogger(__name__)

_ID = re.compile(r"sweep-[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")


@dataclass(frozen=True)
class SweepView:
    """A sweep as it stands now: its record and its runs in their order; None for a run that was deleted."""

    sweep: Sweep
    runs: tuple[RunView | None, ...]

    def pairs(self) -> Iterator[tuple[SweepRun, RunView | None]]:
        """What sets each run apart, and the run."""
        return zip(self.sweep.runs, self.runs, strict=True)

    @property
    def here(self) -> list[RunView]:
        """The runs that were not deleted."""
        return [run for run in self.runs if run is not None]

    @property
    def ended(self) -> int:
        """How many runs will not move by themselves any more."""
        return sum(run is None or run.status.state in FINAL_STATES for run in self.runs)

    @property
    def moving(self) -> bool:
        """Whether a run waits or works."""
        return self.ended < len(self.runs)

    @property
    def resumable(self) -> bool:
        """Whether a run can be gone on with."""
        return any(run.status.state in RESUMABLE for run in self.here)

    @property
    def seconds(self) -> float:
        """From the click to the newest sign of life of its runs."""
        return max([run.status.updated - self.sweep.created for run in self.here], default=0.0)


class SweepService:
    """Records lie in ``.sweeps`` beside the runs. Safe to use from many threads."""

    def __init__(self, settings: Settings, runs: RunStore, queue: RunQueue, align: AlignService) -> None:
        self._folder = settings.adapters_dir / ".sweeps"
        self._runs = runs
        self._queue = queue
        self._align = align

    def start(self, form: SweepForm, progress: Progress | None = None) -> str:
        """Check all forms, then queue a run for each; the sweep's id. A base that is not here is downloaded first.

        Raises:
            StudioError: as :meth:`AlignService.start`, of whichever run; none is queued then. InputError: too many runs, or one alone.
        """
        forms = form.forms()
        for one in forms:
            one.check()
            self._align.preview(one)
        started: list[SweepRun] = []
        try:
            for one in forms:
                dpo, run_id = one.settings, self._align.start(one, progress)
                started.append(SweepRun(run_id, one.support_ratio, dpo.loss_type, one.data_size, dpo.beta, dpo.seed))
            recipe = self._runs.get(started[0].run).recipe
            now = time.time()
            sweep = Sweep(
                id=f"sweep-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{secrets.token_hex(2)}",
                title=form.form.title or f"{recipe.dataset_title} by {form.axis.replace('_', ' ')}",
                axis=form.axis,
                base=recipe.base.id,
                dataset_title=recipe.dataset_title,
                flip_share=form.form.settings.flip_share,
                created=now,
                runs=tuple(started),
            )
            self._folder.mkdir(parents=True, exist_ok=True)
            write_record(self._path(sweep.id), sweep)
        except (StudioError, OSError):
            for run in reversed(started):
                with contextlib.suppress(StudioError):
                    self._runs.stop(run.run, "discard")
            raise
        return sweep.id

    def list(self) -> list[Sweep]:
        """The sweeps of which a run is still here, newest first."""
        here, sweeps = set(self._runs.ids()), []
        for path in self._folder.glob("*.json"):
            try:
                sweep = read_record(Sweep, path)
            except (StudioError, FileNotFoundError) as error:
                log.warning("left out a sweep that cannot be read: %s", error)
                continue
            if any(run.run in here for run in sweep.runs):
                sweeps.append(sweep)
        return sorted(sweeps, key=lambda sweep: (sweep.created, sweep.id), reverse=True)

    def get(self, sweep_id: str) -> SweepView:
        """One sweep with its runs as they stand now.

        Raises:
            NotFoundError: there is none of that id. InputError: its record is broken.
        """
        sweep = self._read(sweep_id)
        runs: list[RunView | None] = []
        for run in sweep.runs:
            try:
                runs.append(self._runs.get(run.run))
            except StudioError:  # deleted, or its files are damaged: the Library says which
                runs.append(None)
        return SweepView(sweep, tuple(runs))

    def stop(self, sweep_id: str) -> None:
        """Take the runs that wait out of the queue, then ask the one that works to end and keep its adapter.

        Raises:
            NotFoundError: there is no such sweep. ConflictError: all its runs have ended.
        """
        view = self.get(sweep_id)
        if not view.moving:
            raise ConflictError(f"All runs of {view.sweep.title} have ended; there is nothing to stop.")
        moving = [run for run in view.here if run.status.state not in FINAL_STATES]
        for run in sorted(moving, key=lambda run: run.status.state != "queued"):
            with contextlib.suppress(ConflictError, NotFoundError):  # it has ended or gone meanwhile
                self._runs.stop(run.run_id, "keep")

    def resume(self, sweep_id: str) -> None:
        """Queue every run again that was stopped, failed or interrupted.

        Raises:
            NotFoundError: there is no such sweep. ConflictError: no run can be resumed, or one cannot.
        """
        view = self.get(sweep_id)
        if not view.resumable:
            raise ConflictError(f"No run of {view.sweep.title} was stopped, failed or interrupted.")
        for run in view.here:
            if run.status.state in RESUMABLE:
                self._queue.resume(run.run_id)

    def keep_blend(self, sweep_id: str, blend: MeasuredBlend) -> None:
        """Keep what was measured of a blend with the sweep.

        Raises:
            NotFoundError: there is no such sweep.
        """
        write_record(self._path(sweep_id), replace(self._read(sweep_id), blend=blend))

    def _read(self, sweep_id: str) -> Sweep:
        try:
            return read_record(Sweep, self._path(sweep_id))
        except FileNotFoundError:
            raise NotFoundError(f"There is no sweep {sweep_id}.") from None

    def _path(self, sweep_id: str) -> Path:
        if not isinstance(sweep_id, str) or not _ID.fullmatch(sweep_id):
            raise InputError(f"{str(sweep_id)[:80]!r} is not the id of a sweep.")
        return self._folder / f"{sweep_id}.json"
