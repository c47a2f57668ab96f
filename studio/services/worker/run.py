"""The process that carries out one run: it owns the run's status, events, samples and log until it ends.

Forked by the warm trainer (see ``services/worker/trainer.py``), or started cold as ``python -m studio.services.worker.run FOLDER``
where a forked process could not train. The training function itself is
``ml.dpo.train_dpo``, ``ml.kto.train_kto``, ``ml.reward.train_reward`` or ``ml.detox.train_detox``.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

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
    WeightChange,
)
from studio.domain.runs import PairRecipe, RunState
from studio.errors import StudioError, TrainingError
from studio.services.data.annotated.rated import named_answers
from studio.services.data.dial import named_rows
from studio.services.files.records import LineWriter
from studio.services.library.model_card import write_card
from studio.services.lineage.start import start_folder
from studio.services.recipes.queue import training_threads
from studio.services.reward.data import run_rows
from studio.services.runs.job import Job, read_job
from studio.services.runs.status import read_status, stop_request
from studio.services.runs.store import RunStore
from studio.services.worker.sentences import plain_sentence
from studio.services.worker.status import StatusKeeper

log = logging.getLogger(__name__)

Emitted = (
    StepEvent
    | ProbeEvent
    | SampleEvent
    | MeasureEvent
    | RewardReport
    | DetoxEvent
    | TranscriptEvent
    | DetoxReport
    | WeightChange
)


#: Steps of ``nice`` a training gives way by: votes and chat are answered first, and a run has nobody waiting for each step.
NICENESS = 5
#: Seconds before a lent GPU is taken back at which a training is stopped: its step ends, and the adapter is saved.
SAVING_S = 15.0


class Outcome(Protocol):
    """How a training ended: the steps done, and whether a stop request ended it."""

    @property
    def steps(self) -> int: ...

    @property
    def stopped(self) -> bool: ...


Train = Callable[[Job, Callable[[Emitted], None], Callable[[], bool]], Outcome]


def recipe_rows(recipe: PairRecipe, dataset: PreferenceDataset) -> tuple[PreferenceRow, ...]:
    """The training rows a recipe names, rebuilt from its flip mask.

    Raises:
        InputError: the data lacks a pair the recipe names.
    """
    return named_rows(dataset.pairs, recipe.row_ids, recipe.rows_support)


def cold_command(folder: Path) -> list[str]:
    """The command that carries out the run in ``folder`` in a process of its own, from the program's root folder."""
    return [sys.executable, "-m", "studio.services.worker.run", str(folder)]


def work(folder: Path, train: Train, lent_s: float = math.inf) -> int:
    """Carry out the run in ``folder`` in this process, whose output goes to the run's log from here on.

    Args:
        lent_s: seconds for which a GPU is lent; the run is stopped :data:`SAVING_S` before.

    Returns the exit code: 0 when the status file holds the last word.
    """
    ends = time.monotonic() + lent_s - SAVING_S
    _redirect(folder / "log.txt")
    if hasattr(os, "nice"):
        os.nice(max(0, NICENESS - os.nice(0)))  # a process that has a GPU may carry out several
    keeper = StatusKeeper(folder, read_status(folder), lent=lent_s < math.inf)
    try:
        stopped = _carry_out(read_job(folder), train, keeper, ends)
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


def _carry_out(job: Job, train: Train, keeper: StatusKeeper, ends: float) -> str | None:
    """Train; the message of a stopped run, or None for one that reached its end. At ``ends`` of the monotonic clock it is stopped."""
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

    result = train(job, emit, lambda: stop_request(job.folder) is not None or time.monotonic() > ends)
    if not result.stopped:
        return None
    if stop_request(job.folder) is not None:
        return f"Stopped on request at step {result.steps}; the adapter is kept. Resume goes on from there."
    return (
        f"Stopped at step {result.steps}, as the GPU's time was over; the adapter is kept. Resume goes on from there."
    )


def train_run(job: Job, emit: Callable[[Emitted], None], should_stop: Callable[[], bool]) -> Outcome:
    """The real thing: find the base model and hand the run to its method.

    Raises:
        StudioError: the base or the adapter to go on from cannot be loaded or is another one, or the training cannot go on.
    """
    from studio.services.models.service import ModelService

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
        "threads": lambda: training_threads(settings),
        "device": settings.device,
        "trust_remote_code": settings.trust_remote_code,
        "cache_dir": settings.cache_dir,
        "states_mb": settings.states_mb,
        "steps_kept": settings.steps_kept,
        "steps_mb": settings.steps_mb,
        "start": start_folder(RunStore(settings), recipe),
    }
    log.info("run %s: %d rows, base %s, resume %s", recipe.run_id, len(recipe.row_ids), base_path, shared["resume"])
    return _TRAIN[recipe.method](job, shared, emit, should_stop)


def _train_dpo(
    job: Job, shared: dict[str, Any], emit: Callable[[Emitted], None], should_stop: Callable[[], bool]
) -> Outcome:
    from studio.ml.dpo.run import DpoJob, train_dpo

    dpo_job = DpoJob(
        **shared,
        rows=recipe_rows(PairRecipe.of(job.recipe), job.data),
        heldout=tuple(job.data.heldout),
        # The judge may read the held-out pairs too: the model never trains on them, and the judge abstains less.
        judge_pairs=(*job.data.pairs, *job.data.heldout),
        test_prompts=job.data.test_prompts,
    )
    return train_dpo(dpo_job, emit, should_stop)


def _train_kto(
    job: Job, shared: dict[str, Any], emit: Callable[[Emitted], None], should_stop: Callable[[], bool]
) -> Outcome:
    from studio.ml.kto.run import KtoJob, train_kto

    kto_job = KtoJob(
        **shared,
        rows=named_answers(job.data.rated, job.recipe.row_ids),
        heldout=tuple(job.data.heldout),
        judge_pairs=(*job.data.pairs, *job.data.heldout),
        test_prompts=job.data.test_prompts,
    )
    return train_kto(kto_job, emit, should_stop)


def _train_reward(
    job: Job, shared: dict[str, Any], emit: Callable[[Emitted], None], should_stop: Callable[[], bool]
) -> Outcome:
    from studio.ml.reward.run import RewardJob, train_reward

    rows, heldout = run_rows(job.data, job.recipe.row_ids, PairRecipe.of(job.recipe).rows_support)
    return train_reward(RewardJob(**shared, rows=rows, heldout=heldout), emit, should_stop)


def _train_detox(
    job: Job, shared: dict[str, Any], emit: Callable[[Emitted], None], should_stop: Callable[[], bool]
) -> Outcome:
    from studio.ml.detox.run import DetoxJob, train_detox
    from studio.services.detox.inputs import read_inputs

    return train_detox(DetoxJob(**shared, **read_inputs(job)), emit, should_stop)


#: How each method trains: from the job, the fields of ``ml.training.TrainingJob``, ``emit`` and ``should_stop``. An uploaded
#: adapter of unknown training never waits in the queue.
_TRAIN: dict[str, Callable[..., Outcome]] = {
    "dpo": _train_dpo,
    "kto": _train_kto,
    "reward": _train_reward,
    "detox": _train_detox,
}


def _finish(keeper: StatusKeeper, state: RunState, message: str) -> int:
    try:
        keeper.end(state, message)
    except OSError:
        log.exception("the last word could not be written")
        return 1
    return 0


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
