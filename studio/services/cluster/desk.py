"""The one process that writes run folders for tasks anywhere in a cluster: a named, detached actor on the app's node.

It starts the tasks and so owns them: both outlive the app, which finds them again by the actor's name. A task has one attempt at a time;
what an earlier attempt still says (its node was only slow) is not written.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studio.config import Settings
from studio.domain.detox import DetoxSettings
from studio.domain.runs import FINAL_STATES, Recipe, RunStatus
from studio.errors import InputError, StudioError
from studio.services.cluster.mirror import Piece, listed, read_piece, remove_file, write_piece
from studio.services.cluster.resources import waits_for, wanted
from studio.services.files.records import read_record
from studio.services.recipes.queue import library_versions
from studio.services.runs.recipe_file import read_recipe
from studio.services.runs.status import StopMode, read_status, stop_request, write_status
from studio.services.runs.store import RunStore
from studio.services.worker.compute import End
from studio.services.worker.process import create_time
from studio.services.worker.sentences import plain_sentence

log = logging.getLogger(__name__)

#: How often a task is begun again after its node died.
RETRIES = 5
#: Seconds without a word from a node after which it is asked whether the node lives.
SILENT_S = 5.0
#: Versions that decide a run; of a version the part before "+" counts (it names the kind of processor after it).
COMPARED = ("torch", "transformers", "trl", "peft")


@dataclass(frozen=True)
class Node:
    """Where an attempt at a run works."""

    node_id: str
    name: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Work:
    """What a task needs first. ``runs``: the files of its own run folder and of the runs it goes on from or asks as scorers."""

    settings: Settings
    status: RunStatus
    runs: dict[str, list[str]]


@dataclass(frozen=True)
class Reply:
    """What a task is told each time it reports: a stop request, and whether its work is wanted no more."""

    stop: StopMode | None = None
    unwanted: bool = False


@dataclass
class _Task:
    """A run that was handed to Ray: ``ref`` is the task, ``ticket`` tells it from an earlier one of the same run."""

    ref: Any
    ticket: int
    asked: dict[str, float]
    attempt: str = ""
    node: Node | None = None
    heard: float = 0.0
    readable: set[str] = field(default_factory=set)


class RunDesk:
    """See the module. Ray calls one method at a time."""

    def __init__(self, adapters_dir: Path, carry_out: Any, module: str) -> None:
        self._dir = adapters_dir
        self._carry_out = carry_out
        self._module = module
        self._runs = RunStore(Settings(adapters_dir=adapters_dir))
        self._tasks: dict[str, _Task] = {}
        self._tickets = 0
        self._pid = os.getpid()
        self._started = create_time(self._pid)

    # -- for the app --------------------------------------------------------------------------------------------------

    def sees(self, file: str) -> bool:
        """Whether it works on the same folder as the app: a file of this name is there."""
        return (self._dir / file).exists()

    def submit(self, run_id: str) -> None:
        """Hand a queued run to Ray.

        Raises:
            FileNotFoundError, InputError: its folder cannot be read.
        """
        import ray

        settings = read_record(Settings, self._dir / run_id / "job.json")
        asked = wanted(settings)
        self._tickets += 1
        task = self._carry_out.options(
            name=f"run {run_id}",
            num_cpus=asked["CPU"],
            num_gpus=asked.get("GPU", 0),
            memory=asked.get("memory"),
            max_retries=RETRIES,
        )
        me = ray.get_runtime_context().current_actor
        self._tasks[run_id] = _Task(task.remote(me, run_id, self._tickets, self._module), self._tickets, asked)

    def look(self) -> dict[str, End | None]:
        """Each run in its hands: None, or how its task ended. What a run waits for is written into its status."""
        import ray

        ended = {}
        if self._tasks:
            refs = {task.ref: run_id for run_id, task in self._tasks.items()}
            ready, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0)
            ended = {refs[ref]: self._end_of(refs[ref], ref) for ref in ready}
            self._tell_waiting([run_id for run_id in self._tasks if run_id not in ended])
        return {run_id: ended.get(run_id) for run_id in self._tasks}

    def cancel(self, run_id: str, force: bool) -> None:
        """End the task of a run: one that has not begun does not begin; ``force`` kills one that works."""
        import ray

        task = self._tasks.get(run_id)
        if task is not None and (force or not task.attempt):
            ray.cancel(task.ref, force=force)

    def forget(self, run_id: str) -> None:
        """Its end is recorded."""
        self._tasks.pop(run_id, None)

    # -- for the tasks ------------------------------------------------------------------------------------------------

    def begin(self, run_id: str, ticket: int, attempt: str, node: Node) -> Work | None:
        """A task begins, or begins again on another node; what it works on, or None where there is nothing to do."""
        task, folder = self._tasks.get(run_id), self._dir / run_id
        if task is None or task.ticket != ticket:
            return None
        with self._runs.queue_lock():
            try:
                status = read_status(folder)
            except FileNotFoundError:
                return None
            if status.state in FINAL_STATES:
                return None
            if sentence := mismatch(library_versions(), node):
                self._write(folder, replace(status, state="failed", message=sentence))
                return None
            before, task.attempt, task.node, task.heard = task.node, attempt, node, time.monotonic()
            message = f"Starting on node {node.name}."
            if before is not None:
                gone = "Its process" if before.node_id == node.node_id else f"Node {before.name}"
                status = replace(status, restarts=status.restarts + 1)
                message = f"{gone} is gone; going on from the last checkpoint on node {node.name} (restart {status.restarts})."
            with open(folder / "log.txt", "a", encoding="utf-8") as run_log:
                run_log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
            self._write(folder, replace(status, state="running", message=message))
        recipe = read_recipe(folder / "run.json")
        needed = [run_id, *(other for other in needed_runs(recipe) if (self._dir / other).is_dir())]
        task.readable = set(needed)
        settings = read_record(Settings, folder / "job.json")
        files = {name: listed(self._dir / name) for name in needed}
        for other in needed[1:]:  # of other runs the adapter and what says that it is one
            files[other] = [*(name for name in files[other] if "/" not in name), "status.json"]
        return Work(settings, status, files)

    def read(self, run_id: str, of: str, name: str, at: int) -> bytes:
        """A piece of a file of the run folder ``of``, for the task of ``run_id``.

        Raises:
            InputError: it is no file that this run needs. FileNotFoundError: it is gone.
        """
        if of not in self._tasks[run_id].readable:
            raise InputError(f"Run {run_id} does not need run {of}.")
        return read_piece(self._dir / of, name, at)

    def write(self, run_id: str, attempt: str, pieces: list[Piece], gone: list[str]) -> Reply:
        """Write what changed in a task's folder.

        Raises:
            OSError: the disk is full.
        """
        reply = self._reply(run_id, attempt)
        if not reply.unwanted:
            for piece in pieces:
                write_piece(self._dir / run_id, piece)
            for name in gone:
                remove_file(self._dir / run_id, name)
        return reply

    def report(self, run_id: str, attempt: str, status: RunStatus) -> Reply:
        """A sign of life, with the status as the node has it."""
        reply = self._reply(run_id, attempt)
        if not reply.unwanted:
            self._tasks[run_id].heard = time.monotonic()
            self._write(self._dir / run_id, status)
        return reply

    # -- within -------------------------------------------------------------------------------------------------------

    def _reply(self, run_id: str, attempt: str) -> Reply:
        task, folder = self._tasks.get(run_id), self._dir / run_id
        if task is None or task.attempt != attempt:
            return Reply(unwanted=True)
        try:
            if read_status(folder).state in FINAL_STATES:
                return Reply(unwanted=True)
        except FileNotFoundError:
            return Reply(unwanted=True)
        asked = stop_request(folder)
        return Reply(stop=asked.mode if asked else None)

    def _write(self, folder: Path, status: RunStatus) -> None:
        now = time.time()
        write_status(folder, replace(status, pid=self._pid, pid_started=self._started, heartbeat=now, updated=now))

    def _tell_waiting(self, run_ids: list[str]) -> None:
        """Write down what runs wait for that have not begun, or whose node is gone."""
        import ray

        now = time.monotonic()
        quiet = [one for one in run_ids if self._tasks[one].node is None or now - self._tasks[one].heard > SILENT_S]
        if not quiet:
            return
        nodes = [node for node in ray.nodes() if node["Alive"]]
        alive, totals = {node["NodeID"] for node in nodes}, [node["Resources"] for node in nodes]
        free = ray.available_resources()
        for run_id in quiet:
            task, folder = self._tasks[run_id], self._dir / run_id
            message = waits_for(task.asked, free, totals)
            if task.node is not None and task.node.node_id in alive:
                continue
            if task.node is not None:
                task.attempt = ""
                message = f"Node {task.node.name} is gone; the run goes on from its last checkpoint. {message}"
            with self._runs.queue_lock():
                try:
                    status = read_status(folder)
                except (FileNotFoundError, StudioError):
                    continue
                if status.state in FINAL_STATES or (status.state, status.message) == ("queued", message):
                    continue
                write_status(folder, replace(status, state="queued", message=message, pid=0))

    def _end_of(self, run_id: str, ref: Any) -> End:
        """How a run ended whose task ended; it counts only where the run has no last word."""
        import ray
        from ray import exceptions

        try:
            ray.get(ref)
        except exceptions.RayTaskError as error:
            log.warning("run %s: %s", run_id, error)
            cause = error.cause
            if isinstance(cause, StudioError):
                return End("failed", str(cause))
            return End("failed", plain_sentence(cause, self._dir / run_id))
        except exceptions.TaskCancelledError:
            return End("interrupted", "It was ended on the Ray cluster; Resume goes on from its last checkpoint.")
        except exceptions.RuntimeEnvSetupError as error:
            return End("failed", f"A node could not take the program ({_first_line(error)}).")
        except exceptions.RayError as error:
            return End(
                "interrupted",
                f"Ray gave the run up ({type(error).__name__}: {_first_line(error)}); Resume goes on from its last checkpoint.",
            )
        return End("failed", "The training on the Ray cluster ended without a word; see the log.")


def mismatch(here: dict[str, str], node: Node) -> str:
    """A sentence where a node would train with other libraries than the app's; empty where they are the same."""

    def public(version: str) -> str:
        return version.partition("+")[0]

    other = [name for name in COMPARED if public(here[name]) != public(node.versions.get(name, "missing"))]
    if not other:
        return ""
    theirs = ", ".join(f"{name} {node.versions.get(name, 'missing')}" for name in other)
    ours = ", ".join(here[name] for name in other)
    return f"Node {node.name} has {theirs}, this studio {ours}; install the same requirements.txt on both, then resume."


def needed_runs(recipe: Recipe) -> list[str]:
    """The other runs that a run reads: the one it goes on from, reward models among its scorers."""
    needed = [recipe.start_run] if recipe.start_run else []
    if isinstance(recipe.settings, DetoxSettings):
        scorers = [*(term.scorer for term in recipe.settings.rewards), recipe.settings.judge]
        needed += [name.removeprefix("run:") for name in scorers if name.startswith("run:")]
    return list(dict.fromkeys(needed))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:200]
