"""A worker seen from outside: is it there, why did it die, kill it. What the trainer knows of the process in its slot."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from studio.domain.runs import RunState
from studio.services.runs.folder import ADAPTER
from studio.services.runs.status import DIED, process_alive, read_status
from studio.services.worker.sentences import NO_MEMORY, NO_SPACE


@dataclass
class WorkerProcess:
    """The process in the training slot. ``child`` is false for one that a killed trainer left behind."""

    run_id: str
    folder: Path
    pid: int
    started: float
    child: bool
    kill_after_s: float
    oom_kills: int
    kill_at: float = 0.0
    killed: bool = False


def poll(worker: WorkerProcess) -> tuple[bool, int | None]:
    """(whether the process ended, its wait status where it is our child)."""
    if not worker.child:
        return not process_alive(worker.pid, worker.started), None
    try:
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
    except ChildProcessError:
        return True, None
    return pid != 0, status


def cause_of_death(worker: WorkerProcess, exit_status: int | None) -> tuple[RunState, str]:
    """State and sentence for a worker that ended without its last word."""
    if worker.killed:
        status = read_status(worker.folder)
        if status.step >= status.total > 0 and (worker.folder / ADAPTER).exists():
            return "stopped", "Stopped while what it learnt was being measured; the adapter is whole."
        return (
            "interrupted",
            f"It did not stop within {worker.kill_after_s:g} s of the request and was killed; "
            "Resume goes on from its last checkpoint.",
        )
    if oom_kills() > worker.oom_kills:
        return "failed", NO_MEMORY
    if exit_status is not None and os.WIFEXITED(exit_status):
        if os.WEXITSTATUS(exit_status) == 0:
            return "failed", "The training process ended early; see the log."
        with contextlib.suppress(OSError):
            space = os.statvfs(worker.folder)
            if space.f_bavail * space.f_frsize < 4_000_000:
                return "failed", NO_SPACE
        return "failed", f"The training process ended with exit code {os.WEXITSTATUS(exit_status)}; see the log."
    if exit_status is not None and os.WTERMSIG(exit_status) not in (signal.SIGKILL, signal.SIGTERM):
        name = signal.Signals(os.WTERMSIG(exit_status)).name
        return "failed", f"The training process crashed ({name}); see the log, and try a smaller batch or another base."
    return "interrupted", DIED


def kill(pid: int) -> None:
    """Kill a worker and whatever it started (it leads its own process group once it runs)."""
    for send in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(pid, signal.SIGKILL)


def create_time(pid: int) -> float:
    """When a process started, in Unix seconds; 0 if it is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def owned() -> dict[str, Any]:
    """The fields of a status that say this process owns the run now."""
    now = time.time()
    return {"pid": os.getpid(), "pid_started": create_time(os.getpid()), "heartbeat": now, "updated": now}


def oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot; 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def prefer_for_oom_kill() -> None:
    """When memory runs out, the kernel should take the run, not the page in front of it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
