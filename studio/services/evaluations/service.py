"""Before/after evaluations: questions answered by a base and its adapters, or by two stages of training, and scored.

A background thread of the server works on one evaluation at a time, first in, first out. The chat's engine is asked for a
few answers at a time, so that a chat gets its turn in between; their rows are stored, scores and all, before the next are
asked for. Whatever ends the server, what is stored stays, and :meth:`EvaluationService.resume` goes on from there.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import replace
from typing import Any

from studio.config import Settings
from studio.domain.chat import BASE
from studio.domain.evaluations import Evaluation, EvaluationSpec
from studio.errors import ConflictError, NotFoundError, StudioError
from studio.services.compare.service import CompareService
from studio.services.evaluations.form import EvaluationForm, check_form, check_title
from studio.services.evaluations.rows import make_rows, parts_left
from studio.services.evaluations.status import RESUMABLE, EvaluationStatus
from studio.services.jobs import Job, JobEnd, JobQueue, owner_gone, owner_name
from studio.services.runs.store import RunStore
from studio.services.scoring.service import ScoringService
from studio.store import evaluations as store
from studio.store.database import Database
from studio.store.evaluations import EvaluationSummary

log = logging.getLogger(__name__)

#: Evaluations that nobody keeps: beyond so many the oldest go when a new one is started.
NOT_KEPT = 50
_DIED = "The studio ended while this was at work; the rows made so far are kept, and Resume goes on from there."


class EvaluationService:
    """Every method may be called from any thread, and raises StudioError where the store cannot be used."""

    def __init__(
        self,
        settings: Settings,
        runs: RunStore,
        compare: CompareService,
        scoring: ScoringService,
        database: Database | None = None,
    ) -> None:
        self._runs = runs
        self._compare = compare
        self._scoring = scoring
        self._database = database or Database(settings.store_url)
        self._owner = owner_name()
        self._queue = JobQueue("evaluations")

    # -- starting and stopping ----------------------------------------------------------------------------------------

    def start(self, form: EvaluationForm) -> str:
        """Store an evaluation and put it in the queue; returns its id at once.

        Raises:
            InputError: a field is not usable (see :func:`check_form`), or the adapters need different bases.
            NotFoundError: no such run; ConflictError: one without an adapter.
            ModelLoadError: the base is not here, or is another one than the adapters were trained on.
            StudioError: the scorer cannot be used.
        """
        check_form(form)
        spec = self._spec(form)
        now = time.time()
        total = len(spec.adapters) * len(spec.prompts) * spec.samples
        made = Evaluation(secrets.token_hex(8), now, now, "queued", "", False, total, spec, ())
        with self._queue.adding(self._job(made.id)), self._store().write() as connection:
            store.add_evaluation(connection, made, self._owner)
            old = [one.id for one in store.all_summaries(connection) if not one.kept]
            moving = {one.id for one in store.all_summaries(connection) if one.moving}
            store.remove(connection, [name for name in old[NOT_KEPT:] if name not in moving])
        return made.id

    def resume(self, evaluation_id: str) -> None:
        """Go on with one that ended before it was done; rows that are there are not made again.

        Raises:
            NotFoundError: no such evaluation, or a run of it is gone.
            ConflictError: it is done or at work; or an adapter, the base or the scorer is not the one it began with.
        """
        summary = self.summary(evaluation_id)
        if summary.state not in RESUMABLE:
            raise ConflictError(f"This evaluation is {summary.state}; there is nothing to resume.")
        self._check_same(summary.spec)
        ours: dict[str, Any] = {"state": "queued", "owner": self._owner, "message": "", "updated": time.time()}
        with self._queue.adding(self._job(evaluation_id)), self._store().write() as connection:
            if not store.change(connection, evaluation_id, was=RESUMABLE, **ours):
                raise ConflictError("Somebody else resumed or deleted this evaluation just now.")

    def cancel(self, evaluation_id: str) -> None:
        """Ask it to end; the rows stored so far stay. Nothing happens where it has ended.

        Raises:
            NotFoundError: no such evaluation.
            ConflictError: another process of the studio works on it.
        """
        if not self._queue.cancel(evaluation_id) and self.summary(evaluation_id).moving:
            raise ConflictError("Another process of the studio works on this evaluation; cancel it there.")

    def close(self) -> None:
        """Stop work (what is under way can be resumed), wait until it has ended, and close the database."""
        self._queue.close()
        self._database.close()

    # -- looking --------------------------------------------------------------------------------------------------------

    def status(self, evaluation_id: str) -> EvaluationStatus:
        """How far it is.

        Raises:
            NotFoundError: no such evaluation.
        """
        summary = self.summary(evaluation_id)
        status = EvaluationStatus(
            summary.id, summary.spec.title, summary.state, summary.done, summary.total, summary.message
        )
        queued = self._queue.find(evaluation_id)
        if queued is None or not summary.moving:
            return status
        job, ahead = queued
        if not job.began:
            return replace(status, note=job.note, ahead=ahead)
        seconds = time.monotonic() - job.began
        made = summary.done - job.done_before
        eta = seconds / made * (summary.total - summary.done) if made > 0 else None
        note = "Cancelling: the answers under way are left." if job.stop.is_set() else job.note
        return replace(status, note=note, seconds=seconds, eta=eta)

    def summary(self, evaluation_id: str) -> EvaluationSummary:
        """An evaluation without rows and prompts.

        Raises:
            NotFoundError: no such evaluation.
        """
        with self._store().read() as connection:
            summary = store.find_summary(connection, evaluation_id)
        if summary is None:
            raise _unknown(evaluation_id)
        return self._recover(summary)

    def get(self, evaluation_id: str) -> Evaluation:
        """An evaluation with all its rows so far.

        Raises:
            NotFoundError: no such evaluation.
        """
        self.summary(evaluation_id)
        with self._store().read() as connection:
            evaluation = store.find_evaluation(connection, evaluation_id)
        if evaluation is None:
            raise _unknown(evaluation_id)
        return evaluation

    def list(self) -> tuple[EvaluationSummary, ...]:
        """Every evaluation, newest first, without rows and prompts."""
        with self._store().read() as connection:
            summaries = store.all_summaries(connection)
        return tuple(self._recover(one) for one in summaries)

    # -- keeping and deleting -------------------------------------------------------------------------------------------

    def keep(self, evaluation_id: str, on: bool) -> None:
        """Keep an evaluation until it is deleted by hand, or let it go when it is old.

        Raises:
            NotFoundError: no such evaluation.
        """
        self._set(evaluation_id, kept=on)

    def rename(self, evaluation_id: str, title: str) -> None:
        """Give it another title.

        Raises:
            NotFoundError: no such evaluation; InputError: the title is empty, too long or no text.
        """
        self._set(evaluation_id, title=check_title(title, empty=False))

    def delete(self, evaluation_id: str) -> None:
        """Remove it with its rows.

        Raises:
            NotFoundError: no such evaluation; ConflictError: it is at work.
        """
        if self.summary(evaluation_id).moving:
            raise ConflictError("This evaluation is at work; cancel it first, then delete it.")
        with self._store().write() as connection:
            store.remove(connection, [evaluation_id])

    # -- within ---------------------------------------------------------------------------------------------------------

    def _store(self) -> Database:
        return self._database.ready()

    def _set(self, evaluation_id: str, **new: Any) -> None:
        with self._store().write() as connection:
            if not store.change(connection, evaluation_id, **new):
                raise _unknown(evaluation_id)

    def _spec(self, form: EvaluationForm) -> EvaluationSpec:
        """The form with everything resolved that must not change until the end."""
        panes = (form.before, *form.adapters)
        base = self._compare.base_of(panes, form.base)
        title = check_title(form.title)
        if not title:
            names = [self._runs.get(name).title for name in form.adapters]
            title = " · ".join([*names, form.prompt_set or f"{len(form.prompts)} prompts"])
        return EvaluationSpec(
            title=title,
            base=base,
            before=form.before,
            adapters=form.adapters,
            hashes=tuple(self._hash(name) for name in panes),
            scorer=self._scoring.spec(form.scorer).info,
            prompt_set=form.prompt_set,
            prompts=form.prompts,
            samples=form.samples,
            sampling=form.sampling,
            system_prompt=form.system_prompt.strip(),
        )

    def _hash(self, name: str) -> str:
        return "" if name == BASE else self._runs.get(name).adapter_hash

    def _check_same(self, spec: EvaluationSpec) -> None:
        """Rows of two states of an adapter, a base or a scorer never stand in one table."""
        panes = (spec.before, *spec.adapters)
        for name, was in zip(panes, spec.hashes, strict=True):
            if (now := self._hash(name)) != was:
                raise ConflictError(
                    f"Adapter {name} is not the one this evaluation began with (its weights were {was}, now they are "
                    f"{now or 'gone'}); start a new evaluation."
                )
        base = self._compare.base_of(panes, spec.base.id)
        if base.fingerprint != spec.base.fingerprint:
            raise ConflictError(f"The files of base {spec.base.id} changed since; start a new evaluation.")
        scorer = self._scoring.spec(spec.scorer.name).info
        if scorer.revision != spec.scorer.revision:
            raise ConflictError(
                f"Scorer {scorer.name} is not the one this evaluation began with (its revision was "
                f"{spec.scorer.revision[:12]}, now it is {scorer.revision[:12]}); start a new evaluation."
            )

    def _recover(self, summary: EvaluationSummary) -> EvaluationSummary:
        """Mark as interrupted what moves no more because whoever worked on it is gone."""
        if not summary.moving:
            return summary
        ours = summary.owner == self._owner
        if self._queue.has(summary.id) if ours else not owner_gone(summary.owner, summary.updated):
            return summary
        with self._store().write() as connection:
            store.change(
                connection, summary.id, was=store.MOVING, owned_by=summary.owner, state="interrupted", message=_DIED
            )
            return store.find_summary(connection, summary.id) or summary

    def _job(self, evaluation_id: str) -> Job:
        return Job(evaluation_id, self._run, self._record_end)

    # -- in the queue's thread --------------------------------------------------------------------------------------------

    def _run(self, job: Job) -> None:
        with self._store().write() as connection:
            if not store.change(
                connection, job.id, was=("queued",), owned_by=self._owner, state="running", updated=time.time()
            ):
                return
            evaluation = store.find_evaluation(connection, job.id)
            there = store.rows_there(connection, job.id)
        assert evaluation is not None
        job.done_before = len(there)

        def alive(note: str) -> None:
            job.note = note
            if job.beat_due():
                with self._store().write() as connection:
                    store.change(connection, job.id, owned_by=self._owner, updated=time.time())

        for part in parts_left(evaluation.spec, there):
            self._check_same(evaluation.spec)
            rows = make_rows(evaluation.spec, part, self._compare, self._scoring, job.stop, alive)
            with self._store().write() as connection:
                # None where somebody deleted it under us
                if not store.change(connection, job.id, was=("running",), owned_by=self._owner, updated=time.time()):
                    return
                store.add_rows(connection, job.id, rows)
            if job.stop.is_set():
                return

    def _record_end(self, job: Job, end: JobEnd, sentence: str) -> None:
        try:
            with self._store().write() as connection:
                store.change(
                    connection,
                    job.id,
                    was=store.MOVING,
                    owned_by=self._owner,
                    state=end,
                    message=sentence or (_DIED if end == "interrupted" else ""),
                    updated=time.time(),
                )
        except StudioError:
            # The store is out of reach: whoever asks later finds nobody at work on it, and calls it interrupted.
            log.exception("the end of evaluation %s could not be stored", job.id)


def _unknown(evaluation_id: str) -> NotFoundError:
    return NotFoundError(f"There is no evaluation {evaluation_id[:40]!r}; it may have been deleted.")
