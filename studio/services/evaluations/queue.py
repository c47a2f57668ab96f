"""The line of evaluations: what waits and works in this process, how far it is, and whether another process still works."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field

import psutil

from studio.domain.evaluations import EvaluationState
from studio.services.runs.status import process_alive
from studio.store.evaluations import MOVING

#: Seconds between two signs of life of a job, and without one until a job on another machine counts as dead.
BEAT_S, SILENT_S = 10.0, 600.0
RESUMABLE: tuple[EvaluationState, ...] = ("cancelled", "failed", "interrupted")


@dataclass(frozen=True)
class EvaluationStatus:
    """How far an evaluation is.

    Attributes:
        done, total: rows (a question, a sample, an adapter) stored and wanted.
        message: why it ended, where that is not plain; ``note`` what it waits for now.
        ahead: how many others this process works on before it.
        seconds: worked on it since it was started or resumed; ``eta`` roughly what is left, None while unknown.
    """

    id: str
    title: str
    state: EvaluationState
    done: int
    total: int
    message: str = ""
    note: str = ""
    ahead: int = 0
    seconds: float = 0.0
    eta: float | None = None

    @property
    def busy(self) -> bool:
        """Whether it waits for its turn or is at work."""
        return self.state in MOVING

    @property
    def resumable(self) -> bool:
        """Whether it stopped before its end and can go on."""
        return self.state in RESUMABLE


@dataclass
class Job:
    """One in the line. ``ends_as`` is the state it goes to once ``stop`` is set; times are of ``time.monotonic``."""

    id: str
    stop: threading.Event = field(default_factory=threading.Event)
    ends_as: EvaluationState = "cancelled"
    note: str = ""
    began: float = 0.0
    had: int = 0


class Beat:
    """Says when the next sign of life is due."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._last < BEAT_S:
            return False
        self._last = now
        return True


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
