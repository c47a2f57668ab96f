"""What carries a run out on a node of a cluster: a Ray task.

It copies the run's folder here, hands it to a trainer process of its own (the same that trains on one machine: warm for the next run,
killed where it does not stop) and tells the desk what changes in the folder until the run has ended.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.config import ROOT, Settings
from studio.domain.runs import FINAL_STATES, RunStatus
from studio.errors import ConflictError, NotFoundError, StudioError
from studio.services.cluster.desk import Node, Reply, Work
from studio.services.cluster.mirror import PIECE_BYTES, Mirror, Piece, write_piece
from studio.services.files.records import write_record
from studio.services.models.service import ModelService
from studio.services.recipes.queue import ensure_trainer, library_versions
from studio.services.runs.folder import portable, remove_folder
from studio.services.runs.recipe_file import read_recipe
from studio.services.runs.status import process_alive, write_status
from studio.services.runs.store import RunStore
from studio.services.worker.process import create_time

#: Seconds between two looks at the folder; between two looks whether the trainer is there.
BEAT_S, ENSURE_S = 0.5, 5.0
#: Seconds that a worker which is not wanted any more gets to go.
GONE_S = 10.0

Call = Callable[..., Any]


class NotWanted(Exception):
    """Nobody waits for this attempt any more."""


def carry_out(desk: Any, run_id: str, ticket: int, module: str) -> None:
    """The task. ``module`` is the program of the trainer process.

    Raises:
        StudioError: the base cannot be had here. OSError: a disk is full.
    """
    import ray

    # In a thread of its own: a task that waits in its main thread gives its core away meanwhile, and Ray would begin the next run.
    asking = ThreadPoolExecutor(1, "desk")

    def call(method: str, *arguments: Any) -> Any:
        return asking.submit(lambda: ray.get(getattr(desk, method).remote(*arguments))).result()

    node_id = ray.get_runtime_context().get_node_id()
    attempt = f"{node_id[:8]}-{os.getpid()}-{secrets.token_hex(2)}"
    here = Node(node_id, f"{socket.gethostname()} ({node_id[:6]})", library_versions())
    work = call("begin", run_id, ticket, attempt, here)
    if work is None:
        return
    attempted = _Attempt(call, run_id, attempt, work)
    with contextlib.suppress(NotWanted), attempted.folder():
        attempted.fetch_base()
        attempted.train(module)


class _Attempt:
    """One attempt at a run."""

    def __init__(self, call: Call, run_id: str, attempt: str, work: Work) -> None:
        self._call, self._run_id, self._attempt, self._work = call, run_id, attempt, work
        self._settings = node_settings(work.settings)
        self._runs = RunStore(self._settings)
        self._folder = self._settings.adapters_dir / run_id
        self._status = replace(work.status, state="running", message="")
        self._reported = 0.0

    @contextlib.contextmanager
    def folder(self) -> Iterator[None]:
        """The run's folder and those of the runs it reads, copied here; gone at the end, and whoever works there."""
        _clear_dead(self._settings.adapters_dir.parent.parent)
        try:
            for of, files in self._work.runs.items():
                for name in files:
                    self._copy(of, name)
            write_record(self._folder / "job.json", portable(self._settings))
            write_status(self._folder, replace(self._work.status, state="queued", message="", updated=time.time()))
            yield
        finally:
            self._end_worker()
            for of in self._work.runs:
                remove_folder(self._settings.adapters_dir / of)

    def fetch_base(self) -> None:
        """See to it that the base lies on this node; another task may be fetching it.

        Raises:
            StudioError: it cannot be had.
        """
        models, base = ModelService(self._settings), read_recipe(self._folder / "run.json").base.id

        def say(fraction: float, text: str) -> None:
            self._report(replace(self._status, message=f"The node fetches the base: {text}"), every=BEAT_S)

        while not models.info(base).cached and not self._stopped():
            try:
                # its terms of use were accepted where the run was asked for
                models.resolve(base, say, accept_terms=True, cancelled=self._stopped)
            except ConflictError:
                self._report(replace(self._status, message="Another run on this node fetches the base."))
                time.sleep(BEAT_S)

    def train(self, module: str) -> None:
        """Hand the run to the trainer process and tell the desk what it does, to the end."""
        mirror, ensured = Mirror(self._folder), 0.0
        self._runs.notify()
        while True:
            try:
                ended = self._runs.ended(self._run_id)
                status = self._runs.status(self._run_id)
            except NotFoundError:  # discarded
                return
            if not ended and time.monotonic() - ensured > ENSURE_S:
                ensure_trainer(self._settings, module, "--parent", str(os.getpid()))
                ensured = time.monotonic()
            for piece in mirror.pieces():
                self._obey(self._call("write", self._run_id, self._attempt, [piece], []))
            if gone := mirror.gone():
                self._obey(self._call("write", self._run_id, self._attempt, [], gone))
            self._report(status if ended else self._at_work(status))
            if ended:
                return
            time.sleep(BEAT_S)

    def _stopped(self) -> bool:
        """Whether somebody stopped the run before it was handed over."""
        try:
            return self._runs.status(self._run_id).state != "queued"
        except NotFoundError:
            return True

    def _at_work(self, status: RunStatus) -> RunStatus:
        """A status as it is told while the run has no last word."""
        message = "The node starts the training process." if status.state == "queued" else status.message
        return replace(status, state="running", message=message)

    def _report(self, status: RunStatus, every: float = 0.0) -> None:
        now = time.monotonic()
        if now - self._reported >= every:
            self._reported = now
            self._obey(self._call("report", self._run_id, self._attempt, status))

    def _obey(self, reply: Reply) -> None:
        """Pass a stop request on to whoever trains.

        Raises:
            NotWanted: nobody waits for this attempt.
        """
        if reply.unwanted:
            raise NotWanted
        if reply.stop:
            with contextlib.suppress(ConflictError, NotFoundError):  # it has ended meanwhile
                self._runs.stop(self._run_id, reply.stop)

    def _copy(self, of: str, name: str) -> None:
        folder, at = self._settings.adapters_dir / of, 0
        while True:
            data = self._call("read", self._run_id, of, name, at)
            last = len(data) < PIECE_BYTES
            write_piece(folder, Piece(name, at, data, last))
            at += len(data)
            if last:
                return

    def _end_worker(self) -> None:
        """Kill a worker that still works here: its attempt is over."""
        with contextlib.suppress(StudioError, OSError):
            self._runs.stop(self._run_id, "discard")
            end = time.monotonic() + GONE_S
            while time.monotonic() < end and self._runs.status(self._run_id).state not in FINAL_STATES:
                time.sleep(0.05)


def node_settings(asked: Settings) -> Settings:
    """The settings of a run as they are on this node: its own folders, the cores it asked for, no cluster."""
    # The trainer of this process inherits the cards that Ray gave it.
    cards = "".join(c if c.isalnum() else "-" for c in os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    slot = f"{os.getpid()}-{create_time(os.getpid()):.0f}{'-' if cards else ''}{cards}"
    scratch = Path(tempfile.gettempdir()) / f"alignment-studio-ray-{os.getuid()}" / slot
    home = Path(asked.ray_node_dir).expanduser()
    for folder in (scratch / "adapters", home / "models", home / "cache"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return replace(
        asked,
        data_root="",
        adapters_dir=scratch / "adapters",
        data_dir=ROOT / "data",
        imported_dir=scratch / "imported",
        models_dir=home / "models",
        cache_dir=home / "cache",
        train_threads=asked.ray_cpus,
        ray_address="",
    )


def _clear_dead(place: Path) -> None:
    """Remove what processes of this kind left behind that are gone."""
    for folder in place.iterdir():
        pid, born = folder.name.split("-")[:2]
        if not process_alive(int(pid), float(born)):
            shutil.rmtree(folder, ignore_errors=True)
