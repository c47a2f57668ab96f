"""Runs are folders. This module makes, lists, reads, stops, resumes and deletes them; the worker process fills them.

A run folder holds what DESIGN's "run folder" lists, and besides: ``dataset.json`` (snapshot of the data, so that a run
can be repeated after its dataset is gone), ``plan.json`` (the prompts of a detox run), ``notes.json`` (title and note a person gave), and while the run waits or
works ``job.json`` (settings of whoever queued it) and ``stop.json`` (a stop request). Who may write ``status.json``:
whoever holds ``.queue.lock`` while the run is queued, then the worker, and the trainer once that worker is dead.
"""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from studio.config import Settings
from studio.domain.data import PreferenceDataset
from studio.domain.detox import DetoxPlan
from studio.domain.events import SampleEvent, TranscriptEvent
from studio.domain.runs import FINAL_STATES, RESUMABLE, BaseRecipe, Recipe, RunStatus
from studio.errors import ConflictError, InputError, NotFoundError, StudioError
from studio.services.files.bin import put_into_bin
from studio.services.files.disk import folder_size
from studio.services.files.plain import check_readable, unreadable
from studio.services.files.records import read_record, write_record
from studio.services.runs.events import Event, Summaries, read_events, read_log_tail, read_samples, read_transcripts
from studio.services.runs.file_cache import FileCache
from studio.services.runs.folder import (
    DATASET,
    PLAN,
    Notes,
    clear_away,
    create_folder,
    portable,
    remove_folder,
)
from studio.services.runs.status import (
    LATEST_S,
    StopMode,
    StopRequest,
    effective,
    owner_alive,
    read_status,
    stop_request,
    write_status,
)
from studio.services.runs.view import DamagedRun, RunView

_ID = re.compile(r"[a-z0-9][a-z0-9-]{2,80}")


class RunStore:
    """The folder of run folders. Safe to use from many threads and processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._dir = settings.adapters_dir
        self._summaries = Summaries()
        self._files = FileCache()

    # -- making and finding -------------------------------------------------------------------------------------------

    def create(self, recipe: Recipe, dataset: PreferenceDataset | None, plan: DetoxPlan | None = None) -> Path:
        """Write the folder of a queued run, with the prompts of a detox run: all of it or nothing.

        Raises:
            InputError: the run id is not one.
            ConflictError: a run of that id exists.
        """
        folder = self._path(recipe.run_id)
        create_folder(folder, recipe, dataset, self._settings, plan)
        self.notify()
        return folder

    def ids(self) -> list[str]:
        """Ids of all runs, in no order."""
        if not self._dir.is_dir():
            return []
        with os.scandir(self._dir) as entries:
            return [
                e.name for e in entries if _ID.fullmatch(e.name) and os.path.exists(os.path.join(e.path, "run.json"))
            ]

    def get(self, run_id: str) -> RunView:
        """One run as it stands now.

        Raises:
            InputError: ``run_id`` is not a run id, or its files are broken.
            NotFoundError: no such run.
        """
        folder = self.folder(run_id)
        try:
            recipe = self._files.recipe(folder)
            status = effective(read_status(folder), folder)
            notes = self._notes(folder)
            summary = self._summaries.of(folder)
            size = folder_size(folder)
            adapter_hash = self._files.adapter_hash(folder)
            for name in ("samples.jsonl", "log.txt"):  # read when the run is opened
                check_readable(folder / name, f"{run_id}/{name}")
        except FileNotFoundError:
            raise NotFoundError(f"There is no run {run_id}.") from None
        except OSError as error:
            raise unreadable(run_id, error) from error
        if not 0 <= recipe.created < LATEST_S:
            raise InputError(f"{run_id}/run.json: created is {recipe.created:g}, which is no time.")
        return RunView(
            run_id=run_id,
            folder=folder,
            recipe=recipe,
            status=status,
            title=notes.title or recipe.title or run_id,
            note=notes.note,
            last_step=summary.last_step,
            probe=summary.probe,
            base_share=summary.shares.get("base"),
            adapter_share=summary.shares.get("adapter"),
            vector_shares=tuple(sorted(summary.vectors.items())),
            has_adapter=bool(adapter_hash),
            adapter_hash=adapter_hash,
            size_bytes=size,
            reward=summary.reward,
            detox_step=summary.detox_step,
            detox=summary.detox,
            change=summary.change,
        )

    def get_of(self, kind: type[BaseRecipe], run_id: str) -> RunView:
        """One run of the method that has this kind of recipe.

        Raises:
            InputError, NotFoundError: as :meth:`get`; RecipeError: it is of another method.
        """
        view = self.get(run_id)
        kind.of(view.recipe)
        return view

    def status(self, run_id: str) -> RunStatus:
        """The effective status alone: cheaper than :meth:`get` for those who poll.

        Raises:
            InputError, NotFoundError: as :meth:`folder`.
        """
        folder = self.folder(run_id)
        try:
            return effective(read_status(folder), folder)
        except FileNotFoundError:
            raise NotFoundError(f"There is no run {run_id}.") from None

    def ended(self, run_id: str, grace_s: float = 3.0) -> bool:
        """Whether a run has ended and its end is recorded. A dead worker's run counts as ended ``grace_s`` seconds after
        its last heartbeat, in which the trainer gets to write down the cause.

        Raises:
            InputError, NotFoundError: as :meth:`folder`.
        """
        folder = self.folder(run_id)
        try:
            raw = read_status(folder)
        except FileNotFoundError:
            raise NotFoundError(f"There is no run {run_id}.") from None
        if raw.state in FINAL_STATES:
            return True
        return time.time() - raw.heartbeat > grace_s and effective(raw, folder).state in FINAL_STATES

    def folder(self, run_id: str) -> Path:
        """Where a run lies.

        Raises:
            InputError: ``run_id`` is not a run id.
            NotFoundError: no such run.
        """
        folder = self._path(run_id)
        if not os.path.isfile(folder / "run.json"):
            raise NotFoundError(f"There is no run {run_id}.")
        return folder

    # -- reading ------------------------------------------------------------------------------------------------------

    def events(self, run_id: str, offset: int = 0) -> tuple[list[Event], int]:
        """Events from byte ``offset`` on, oldest first, and the offset to ask from next time.

        A resumed run may repeat steps after its checkpoint; :func:`drop_superseded` drops those it replaced.

        Raises:
            InputError, NotFoundError: as :meth:`folder`.
        """
        return read_events(self.folder(run_id), offset)

    def samples(self, run_id: str) -> list[SampleEvent]:
        """The film-strip: fixed prompts answered during training, by step. Of answers repeated by a resumed run the
        newest counts.

        Raises:
            InputError, NotFoundError: as :meth:`folder`.
        """
        return read_samples(self.folder(run_id))

    def transcripts(self, run_id: str) -> list[TranscriptEvent]:
        """The film-strip of a detox run, as :meth:`samples`."""
        return read_transcripts(self.folder(run_id))

    def plan(self, run_id: str) -> DetoxPlan:
        """The prompts of a detox run.

        Raises:
            InputError, NotFoundError: as :meth:`folder`; NotFoundError also where an imported run brought none.
        """
        try:
            return read_record(DetoxPlan, self.folder(run_id) / PLAN)
        except FileNotFoundError:
            raise NotFoundError(f"Run {run_id} carries no prompts.") from None

    def log_tail(self, run_id: str, lines: int = 40) -> str:
        """The last ``lines`` lines of the worker's output; empty before there is any."""
        return read_log_tail(self.folder(run_id), lines)

    def dataset(self, run_id: str) -> PreferenceDataset:
        """The data a run was made with (its training pairs, held-out pairs and test prompts).

        Raises:
            InputError, NotFoundError: as :meth:`folder`; NotFoundError also where an imported run brought no data.
        """
        try:
            return read_record(PreferenceDataset, self.folder(run_id) / DATASET)
        except FileNotFoundError:
            raise NotFoundError(f"Run {run_id} carries no data snapshot.") from None

    # -- changing -----------------------------------------------------------------------------------------------------

    def stop(self, run_id: str, mode: StopMode) -> None:
        """Ask a run to end after its present step and keep its adapter, or to end at once and be removed. A queued run leaves the
        queue here and now.

        Raises:
            InputError, NotFoundError: as :meth:`folder`; InputError also for an unknown mode.
            ConflictError: the run has ended already.
        """
        if mode not in ("keep", "discard"):
            raise InputError(f"mode is {mode!r}; use keep or discard.")
        folder = self.folder(run_id)
        with self.queue_lock():
            status = read_status(folder)
            state = effective(status, folder).state
            hangs = status.state not in FINAL_STATES and owner_alive(status)
            if state in FINAL_STATES and not hangs:
                raise ConflictError(f"Run {run_id} is {state} already; there is nothing to stop.")
            if state == "queued":
                if mode == "discard":
                    remove_folder(folder)
                else:
                    note = "Taken out of the queue before its turn."
                    write_status(folder, replace(status, state="stopped", message=note, updated=time.time()))
                return
            asked = stop_request(folder)
            if asked is None or asked.mode == "keep":
                at = asked.at if asked else time.time()
                if asked is None:
                    clear_away(folder / "stop.json")
                write_record(folder / "stop.json", StopRequest(mode, at))
        self.notify()

    def resume(self, run_id: str, device: str = "") -> None:
        """Queue a run again that was stopped, failed or interrupted; it goes on from its checkpoint where it has one. ``device``: on this
        one instead of that of the settings.

        Raises:
            InputError, NotFoundError: as :meth:`folder`.
            ConflictError: the run is done, waiting or running, or carries no data to go on with.
        """
        folder = self.folder(run_id)
        with self.queue_lock():
            status = read_status(folder)
            state = effective(status, folder).state
            if state not in RESUMABLE:
                raise ConflictError(
                    f"Run {run_id} is {state}; only a stopped, failed or interrupted run can be resumed."
                )
            if status.state not in FINAL_STATES and owner_alive(status):
                raise ConflictError(f"The process of run {run_id} hangs but is still there; stop it before resuming.")
            if not any((folder / name).is_file() for name in (DATASET, PLAN)):
                raise ConflictError(f"Run {run_id} carries no data snapshot, so it cannot go on here.")
            clear_away(folder / "stop.json")
            write_record(folder / "job.json", portable(self._settings, **({"device": device} if device else {})))
            note = "Waiting for its turn to go on."
            write_status(folder, replace(status, state="queued", message=note, pid=0, updated=time.time()))
        self.notify()

    def delete(self, run_id: str) -> None:
        """Move a run that is not running into the bin, with its adapter.

        Raises:
            InputError, NotFoundError: as :meth:`folder`.
            ConflictError: it is running; stop it first.
        """
        folder = self.folder(run_id)
        with self.queue_lock():
            status = read_status(folder)
            if status.state in ("running", "stopping") and owner_alive(status):
                raise ConflictError(f"Run {run_id} is running; stop it before deleting it.")
            put_into_bin(folder)

    def rename(self, run_id: str, title: str) -> None:
        """Give a run another title (an empty one restores the recipe's).

        Raises:
            InputError, NotFoundError: as :meth:`folder`; InputError also for more than 120 characters.
        """
        title = " ".join(title.split())
        if len(title) > 120:
            raise InputError(f"The title has {len(title)} characters; 120 are allowed.")
        folder = self.folder(run_id)
        write_record(folder / "notes.json", replace(self._notes(folder), title=title))

    def set_note(self, run_id: str, text: str) -> None:
        """Keep a free note with a run.

        Raises:
            InputError, NotFoundError: as :meth:`folder`; InputError also for more than 10,000 characters.
        """
        if len(text) > 10_000:
            raise InputError(f"The note has {len(text)} characters; 10,000 are allowed.")
        folder = self.folder(run_id)
        write_record(folder / "notes.json", replace(self._notes(folder), note=text.strip()))

    @contextlib.contextmanager
    def queue_lock(self) -> Iterator[None]:
        """Held for the moment in which a run enters or leaves the queue; between threads and processes alike."""
        self._dir.mkdir(parents=True, exist_ok=True)
        with open(self._dir / ".queue.lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:  # said, not left to the closing: a process forked meanwhile has the file open too
                fcntl.flock(file, fcntl.LOCK_UN)

    def notify(self) -> None:
        """Tell the trainer that there is something to look at."""
        (self._dir / ".notify").touch()

    def damaged(self) -> tuple[DamagedRun, ...]:
        """The folders that :meth:`list` leaves out, by name, each with its reason."""
        return self._read()[1]

    # Last of the public methods: in a class body, ``list`` means this method from here on.
    def list(self) -> list[RunView]:
        """All readable runs, newest first; a damaged folder is left out, see :meth:`damaged`."""
        return self._read()[0]

    # -- within -------------------------------------------------------------------------------------------------------

    def _read(self) -> tuple[builtins.list[RunView], tuple[DamagedRun, ...]]:
        """Every folder, as the run it is or with the reason why it is none."""
        views, damaged = [], []
        for name in self._folders():
            try:
                views.append(self.get(name))
            except StudioError as error:
                folder = self._dir / name
                if not os.path.lexists(folder):  # deleted while we were listing
                    continue
                lacks = isinstance(error, NotFoundError) and not os.path.isfile(folder / "run.json")
                damaged.append(DamagedRun(name, "run.json is missing or no plain file." if lacks else str(error)))
        newest_first = sorted(views, key=lambda view: (view.recipe.created, view.run_id), reverse=True)
        return newest_first, tuple(sorted(damaged, key=lambda run: run.name))

    def _folders(self) -> builtins.list[str]:
        """Names of all folders that are runs or look like one that was copied here."""
        if not self._dir.is_dir():
            return []
        with os.scandir(self._dir) as entries:
            return [
                e.name
                for e in entries
                if not e.name.startswith(".")
                and (e.is_symlink() or e.is_dir())
                and (_ID.fullmatch(e.name) or os.path.lexists(os.path.join(e.path, "run.json")))
            ]

    def _path(self, run_id: str) -> Path:
        if not isinstance(run_id, str) or not _ID.fullmatch(run_id):
            raise InputError(
                f"{str(run_id)[:80]!r} is not a run id (small letters, digits and hyphens, 3 to 81 of them)."
            )
        folder = self._dir / run_id
        if folder.is_symlink() or folder.resolve().parent != self._dir.resolve():
            raise InputError(f"{run_id!r} does not lie in the adapters folder.")
        return folder

    def _notes(self, folder: Path) -> Notes:
        try:
            return read_record(Notes, folder / "notes.json")
        except FileNotFoundError:
            return Notes()
