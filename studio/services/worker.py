"""The process that carries out one run: it owns the run's status, events, samples and log until it ends.

Forked by the warm trainer (see ``services/trainer.py``), or started cold as ``python -m studio.services.worker FOLDER``
where a forked process could not train. The training function itself is
``ml.dpo.train_dpo``, ``ml.reward.train_reward`` or ``ml.detox.train_detox``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import faulthandler
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import psutil

from studio.config import Settings
from studio.domain.data import PreferenceDataset, PreferenceRow
from studio.domain.events import (
    DetoxEvent,
    DetoxReport,
    MeasureEvent,
    ProbeEvent,
    RewardReport,
    SampleEvent,
    StepEvent,
    TranscriptEvent,
)
from studio.domain.runs import Recipe, RunState, RunStatus
from studio.errors import StudioError, TrainingError
from studio.services.cards import write_card
from studio.services.preferences import named_rows
from studio.services.records import LineWriter, read_record
from studio.services.reward_data import run_rows
from studio.services.run_state import read_status, stop_request, write_status
from studio.services.runs import RunStore

log = logging.getLogger(__name__)

Emitted = (
    StepEvent | ProbeEvent | SampleEvent | MeasureEvent | RewardReport | DetoxEvent | TranscriptEvent | DetoxReport
)
HEARTBEAT_S = 1.0
NO_SPACE = "The disk is full, so the run could not go on. Free some space (old runs can go), then resume it."
NO_MEMORY = (
    "There was not enough memory for this run. Try a smaller batch (with more accumulation), a shorter max length, a "
    "smaller base model, or close what else is using memory; then resume it."
)


@dataclass(frozen=True)
class Job:
    """What a run folder holds for its worker."""

    folder: Path
    recipe: Recipe
    dataset: PreferenceDataset
    settings: Settings


#: Steps of ``nice`` a training gives way by: votes and chat are answered first, and a run has nobody waiting for each step.
COURTESY = 5


class Outcome(Protocol):
    """How a training ended: the steps done, and whether a stop request ended it."""

    @property
    def steps(self) -> int: ...

    @property
    def stopped(self) -> bool: ...


Train = Callable[[Job, Callable[[Emitted], None], Callable[[], bool]], Outcome]


def cpu_threads(wanted: int) -> int:
    """CPU threads of a training process: ``wanted``, or for 0 half the cores this process may use, at least one."""
    return wanted if wanted > 0 else max(1, len(os.sched_getaffinity(0)) // 2 if sys.platform == "linux" else 1)


def read_job(folder: Path) -> Job:
    """The job of a run folder.

    Raises:
        InputError, FileNotFoundError: the folder is not a queued run's.
    """
    return Job(
        folder=folder,
        recipe=read_record(Recipe, folder / "run.json"),
        dataset=read_record(PreferenceDataset, folder / "dataset.json"),
        settings=read_record(Settings, folder / "job.json"),
    )


def recipe_rows(recipe: Recipe, dataset: PreferenceDataset) -> tuple[PreferenceRow, ...]:
    """The training rows a recipe names, rebuilt from its flip mask.

    Raises:
        InputError: the data lacks a pair the recipe names.
    """
    return named_rows(dataset.pairs, recipe.row_ids, recipe.rows_support)


class StatusKeeper:
    """Owns ``status.json`` while the worker lives: a thread beats every second, so that a long step (or a slow model
    load) does not read as death, and a crash of the training thread cannot leave a beating heart behind."""

    def __init__(self, folder: Path, before: RunStatus) -> None:
        self._folder = folder
        self._began = time.monotonic()
        self._worked_before = before.seconds
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._status = replace(
            before,
            state="running",
            message="Loading the base model.",
            pid=os.getpid(),
            pid_started=psutil.Process().create_time(),
        )
        self._write()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def progress(self, step: int, total: int) -> None:
        """Note the newest step; it is written with the next beat."""
        with self._lock:
            message = "Measuring what was trained." if step >= total else ""
            self._status = replace(self._status, step=step, total=total, message=message)

    def end(self, state: RunState, message: str) -> None:
        """Stop beating and write the last word."""
        self._over.set()
        self._thread.join()
        with self._lock:
            self._status = replace(self._status, state=state, message=message)
            try:
                self._write()
            except OSError:
                # On a full disk there is no room for a second file; the old one's own blocks can still be written over.
                log.exception("could not replace status.json; writing into it")
                _overwrite(self._folder / "status.json", self._status)

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_S):
            with self._lock:
                try:
                    self._write()
                except OSError as error:
                    log.warning("heartbeat not written: %s", error)

    def _write(self) -> None:
        now = time.time()
        worked = self._worked_before + time.monotonic() - self._began
        self._status = replace(self._status, heartbeat=now, updated=now, seconds=round(worked, 3))
        write_status(self._folder, self._status)


def cold_command(folder: Path) -> list[str]:
    """The command that carries out the run in ``folder`` in a process of its own, from the program's root folder."""
    return [sys.executable, "-m", "studio.services.worker", str(folder)]


def work(folder: Path, train: Train) -> int:
    """Carry out the run in ``folder`` in this process, whose output goes to the run's log from here on.

    Returns the exit code: 0 when the status file holds the last word.
    """
    _redirect(folder / "log.txt")
    if hasattr(os, "nice"):
        os.nice(COURTESY)
    keeper = StatusKeeper(folder, read_status(folder))
    try:
        stopped = _carry_out(read_job(folder), train, keeper)
    except StudioError as error:
        log.info("failed: %s", error)
        return _finish(keeper, "failed", str(error))
    except Exception as error:
        log.exception("the run failed")
        return _finish(keeper, "failed", plain_sentence(error, folder))
    state: RunState = "done" if stopped is None else "stopped"
    _write_card(folder, state)
    return _finish(keeper, state, stopped or "")


def _write_card(folder: Path, state: RunState) -> None:
    """The model card, before the last word, so that a run that reads done has one. A run is no worse for lacking it: the
    library writes it anew when asked."""
    try:
        store = RunStore(replace(read_job(folder).settings, adapters_dir=folder.parent))
        view = store.get(folder.name)
        if view.has_adapter:
            write_card(folder, replace(view, status=replace(view.status, state=state)))
    except (OSError, StudioError):
        log.exception("the model card was not written")


def _carry_out(job: Job, train: Train, keeper: StatusKeeper) -> str | None:
    """Train; the message of a stopped run, or None for one that reached its end."""
    events, samples = LineWriter(job.folder / "events.jsonl"), LineWriter(job.folder / "samples.jsonl")

    def emit(event: Emitted) -> None:
        if isinstance(event, SampleEvent | TranscriptEvent):
            samples.write(event)
            return
        events.write(event)
        if isinstance(event, StepEvent):
            keeper.progress(event.step, event.total)
            log.info("step %d/%d loss %.4f margin %+.4f", event.step, event.total, event.loss, event.margin)
        elif isinstance(event, DetoxEvent):
            keeper.progress(event.step, event.total)
            log.info("step %d/%d reward %+.3f kl %.3f", event.step, event.total, event.reward, event.kl)

    result = train(job, emit, lambda: stop_request(job.folder) is not None)
    if not result.stopped:
        return None
    return f"Stopped on request at step {result.steps}; the adapter is kept. Resume goes on from there."


def train_run(job: Job, emit: Callable[[Emitted], None], should_stop: Callable[[], bool]) -> Outcome:
    """The real thing: find the base model and hand the run to ``ml.dpo`` or ``ml.reward``.

    Raises:
        StudioError: the base cannot be loaded or is another one, or the training cannot go on.
    """
    from studio.services.models import ModelService

    recipe, settings = job.recipe, job.settings
    base, base_path = ModelService(settings).resolve(recipe.base.id)
    if recipe.base.fingerprint and base.fingerprint and base.fingerprint != recipe.base.fingerprint:
        raise TrainingError(
            f"The base model {recipe.base.id} is not the one this run was made for (its files changed). Start a new run."
        )
    shared = {
        "recipe": recipe,
        "base_path": base_path,
        "folder": job.folder,
        "resume": (job.folder / "checkpoint").is_dir(),
        "threads": cpu_threads(settings.train_threads),
        "device": settings.device,
        "trust_remote_code": settings.trust_remote_code,
    }
    log.info("run %s: %d rows, base %s, resume %s", recipe.run_id, len(recipe.row_ids), base_path, shared["resume"])
    return _TRAIN[recipe.method](job, shared, emit, should_stop)


def _train_dpo(
    job: Job, shared: dict[str, Any], emit: Callable[[Emitted], None], should_stop: Callable[[], bool]
) -> Outcome:
    from studio.ml.dpo.run import DpoJob, train_dpo

    dpo_job = DpoJob(
        **shared,
        rows=recipe_rows(job.recipe, job.dataset),
        heldout=job.dataset.heldout,
        # The judge may read the held-out pairs too: the model never trains on them, and the judge abstains less.
        judge_pairs=job.dataset.pairs + job.dataset.heldout,
        test_prompts=job.dataset.test_prompts,
        cache_dir=job.settings.cache_dir,
    )
    return train_dpo(dpo_job, emit, should_stop)


def _train_reward(
    job: Job, shared: dict[str, Any], emit: Callable[[Emitted], None], should_stop: Callable[[], bool]
) -> Outcome:
    from studio.ml.reward.run import RewardJob, train_reward

    rows, heldout = run_rows(job.dataset, job.recipe.row_ids, job.recipe.rows_support)
    return train_reward(RewardJob(**shared, rows=rows, heldout=heldout), emit, should_stop)


def _train_detox(
    job: Job, shared: dict[str, Any], emit: Callable[[Emitted], None], should_stop: Callable[[], bool]
) -> Outcome:
    from studio.ml.detox.run import DetoxJob, train_detox
    from studio.services.detox_job import read_inputs

    return train_detox(DetoxJob(**shared, **read_inputs(job)), emit, should_stop)


#: How each method trains: from the job, the fields of ``ml.training.TrainingJob``, ``emit`` and ``should_stop``. An uploaded
#: adapter of unknown training never waits in the queue.
_TRAIN: dict[str, Callable[..., Outcome]] = {"dpo": _train_dpo, "reward": _train_reward, "detox": _train_detox}


def plain_sentence(error: BaseException, folder: Path) -> str:
    """What went wrong, in one sentence that says what to try."""
    text = str(error).lower()
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    if (
        any(isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT) for e in chain)
        or "no space left" in text
    ):
        return NO_SPACE
    if any(isinstance(e, MemoryError) for e in chain) or "out of memory" in text or "allocate memory" in text:
        return NO_MEMORY
    with contextlib.suppress(OSError):
        if shutil.disk_usage(folder).free < 4_000_000:
            return NO_SPACE
    first = next(iter(str(error).splitlines()), "").strip()
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"The run failed in a way nobody foresaw ({what[:200]}); its log has the details."


def _finish(keeper: StatusKeeper, state: RunState, message: str) -> int:
    try:
        keeper.end(state, message)
    except OSError:
        log.exception("the last word could not be written")
        return 1
    return 0


def _overwrite(path: Path, status: RunStatus) -> None:
    data = json.dumps(dataclasses.asdict(status), ensure_ascii=False).encode()
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        file.write(data.ljust(size))
        file.truncate()
        os.fsync(file.fileno())


def _redirect(path: Path) -> None:
    """Standard output and error of this process, C libraries included, into the run's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)
    for name in (sys.stdout, sys.stderr):
        if hasattr(name, "reconfigure"):
            name.reconfigure(line_buffering=True, errors="replace")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr, force=True)
    faulthandler.enable()


if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1]), train_run))
