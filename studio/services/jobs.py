"""Work in the background of the server: jobs of one kind, one at a time, first in, first out, in a thread of their own.

A job lives as long as this process. What has to outlive it is the owner's to store: :func:`owner_name` and :func:`owner_gone`
say whether the process that worked on something is still there, so that another one can go on with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import psutil

from studio.errors import StudioError
from studio.services.runs.status import process_alive

log = logging.getLogger(__name__)

#: Seconds between two signs of life of a job, and without one until a job on another machine counts as dead.
BEAT_S, SILENT_S = 10.0, 600.0
#: How a job ends: ``cancelled`` by a person, ``interrupted`` by the end of the server.
JobEnd = Literal["done", "cancelled", "failed", "interrupted"]


@dataclass(eq=False)
class Job:
    """Something to do.

    Attributes:
        work: does it; it returns early once ``stop`` is set, and raises where it fails.
        on_end: called once with how it ended and, of a failure, one sentence; also for one that never began.
        note: what it waits for now, for people.
        began: ``time.monotonic`` of its start; 0 while it waits for its turn.
        done_before: how much of it was there already when it began, for what is gone on with.
    """

    id: str
    work: Callable[[Job], None]
    on_end: Callable[[Job, JobEnd, str], None]
    stop: threading.Event = field(default_factory=threading.Event)
    note: str = ""
    began: float = 0.0
    done_before: int = 0
    _stopped_as: JobEnd = "cancelled"
    _beat: float = field(default_factory=time.monotonic)

    def beat_due(self) -> bool:
        """Whether it is time for another sign of life; if so, the next is due ``BEAT_S`` later."""
        now = time.monotonic()
        due = now - self._beat >= BEAT_S
        if due:
            self._beat = now
        return due


class JobQueue:
    """The jobs of one kind. Every method may be called from any thread; the thread lives while there is something to do."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        #: The first is at work.
        self._jobs: deque[Job] = deque()
        self._coming: set[str] = set()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def adding(self, job: Job) -> Iterator[None]:
        """Add a job once the block has stored what is to be stored of it; until then :meth:`has` knows it already."""
        with self._lock:
            self._coming.add(job.id)
        try:
            yield
            with self._lock:
                self._jobs.append(job)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                    self._thread.start()
        finally:
            with self._lock:
                self._coming.discard(job.id)

    def add(self, job: Job) -> None:
        """Add a job of which nothing is stored."""
        with self.adding(job):
            pass

    def has(self, job_id: str) -> bool:
        """Whether it waits, works, or is being added."""
        return job_id in self._coming or self.find(job_id) is not None

    def find(self, job_id: str) -> tuple[Job, int] | None:
        """A job that waits or works, and how many are before it."""
        with self._lock:
            return next(((job, place) for place, job in enumerate(self._jobs) if job.id == job_id), None)

    def cancel(self, job_id: str) -> bool:
        """Ask a job to end: one that waits has ended when this returns. False where there is none."""
        with self._lock:
            job = next((job for job in self._jobs if job.id == job_id), None)
            waited = job is not None and self._stop(job, "cancelled")
        if job is not None and waited:
            job.on_end(job, "cancelled", "")
        return job is not None

    def close(self) -> None:
        """End all jobs as interrupted, and wait for the one at work."""
        with self._lock:
            waiting = [job for job in list(self._jobs) if self._stop(job, "interrupted")]
            thread = self._thread
        for job in waiting:
            job.on_end(job, "interrupted", "")
        if thread is not None:
            thread.join()

    def _stop(self, job: Job, end: JobEnd) -> bool:
        """Ask one job to end, unless that was done; take it out and return True where it waits. The lock is held."""
        if not job.stop.is_set():
            job._stopped_as = end
            job.stop.set()
        if self._jobs[0] is job:
            return False
        self._jobs.remove(job)
        return True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._thread = None
                    return
                job = self._jobs[0]
                job.began = time.monotonic()
            try:
                end, sentence = self._end_of(job)
                job.on_end(job, end, sentence)
            except Exception:
                log.exception("the end of %s job %s could not be noted", self._name, job.id)
            finally:
                with self._lock:
                    self._jobs.popleft()

    def _end_of(self, job: Job) -> tuple[JobEnd, str]:
        try:
            job.work(job)
        except StudioError as error:
            return "failed", str(error)
        except Exception:
            log.exception("%s job %s failed", self._name, job.id)
            return "failed", "Something went wrong; the server's log has the details."
        return (job._stopped_as if job.stop.is_set() else "done"), ""


def owner_name() -> str:
    """What this process calls itself in the store: host, number, time of birth, and something that is its own."""
    born = psutil.Process().create_time()
    return f"{socket.gethostname()}|{os.getpid()}|{born:.2f}|{secrets.token_hex(4)}"


def owner_gone(owner: str, heard: float) -> bool:
    """Whether the process of that name works no more: it is dead, or on another machine and silent since ``heard``."""
    host, pid, born, _ = owner.split("|")
    if host != socket.gethostname():
        return time.time() - heard > SILENT_S
    return not process_alive(int(pid), float(born))
