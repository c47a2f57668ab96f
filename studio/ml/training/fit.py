"""One training from start to end: what DPO, reward and detox runs have in common."""

from __future__ import annotations

import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from studio.domain.events import WeightChange
from studio.ml.lora.fused import fuse_lora
from studio.ml.lora.snapshots import Snapshots
from studio.ml.models.loading import SMALL_MODEL, load_model, load_tokenizer
from studio.ml.training.failures import plain_failures
from studio.ml.training.observer import Observer
from studio.ml.training.setup import TrainingJob, lora_config, public_id, start_device, training_dtype
from studio.ml.training.start_adapter import StartAdapter
from studio.ml.training.steps import Clock, progress_callback_class
from studio.ml.training.trainer import last_checkpoint, read_progress, save_adapter, weight_change

J = TypeVar("J", bound=TrainingJob)


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended: steps done in all, whether a stop request ended it, seconds of training in all."""

    steps: int
    stopped: bool
    seconds: float


@dataclass(frozen=True)
class Base:
    """The base model of a training: frozen, without dropout of its own, on ``device`` in ``dtype``."""

    model: Any
    tokenizer: Any
    device: str
    dtype: str


class Training(ABC, Generic[J]):
    """What one method of training adds to :func:`fit`, which calls these in the order in which they stand here."""

    def __init__(self, job: J) -> None:
        self.job = job
        #: The adapter that the run goes on from, once it is on the base.
        self.start: StartAdapter | None = None

    def load(self, tokenizer: Any, device: str, dtype: str) -> Any:
        """The base model; a causal or encoder-decoder language model unless a method says otherwise.

        Raises:
            ModelLoadError: it cannot be loaded.
        """
        job = self.job
        return load_model(
            job.base_path,
            device=device,
            dtype=dtype,
            load_in_4bit=job.recipe.settings.load_in_4bit,
            trust_remote_code=job.trust_remote_code,
        )

    def lora(self, model: Any) -> Any:
        """PEFT's ``LoraConfig``."""
        return lora_config(
            self.job.recipe.lora, model, "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
        )

    @abstractmethod
    def trainer(self, base: Base, **shared: Any) -> Any:
        """The data as token ids in a TRL trainer; ``shared`` is what every trainer is given.

        Raises:
            RecipeError: there is nothing to train on.
        """

    @abstractmethod
    def observer(self, trainer: Any, base: Base, **shared: Any) -> Observer:
        """Who observes ``trainer.model``; ``shared`` are the fields of :class:`Observer`."""

    def save(self, model: Any, folder: Path, base_id: str) -> None:
        """Write the adapter into ``folder``; one that the run went on from is part of what is written."""
        (self.start.save if self.start else save_adapter)(model, folder, base_id)


def fit(training: Training[Any], emit: Callable[[Any], None], should_stop: Callable[[], bool]) -> TrainingResult:
    """Train, from the newest checkpoint where the job resumes, until the end or a stop request; save and measure.

    A stopped run keeps its checkpoint, and is measured only where that takes a moment.

    Raises:
        RecipeError: a setting or the data cannot be trained with.
        ModelLoadError: the base or the adapter to go on from cannot be loaded.
        TrainingError: not-a-number loss, out of memory, full disk; the sentence says what to try.
    """
    recipe = training.job.recipe
    with plain_failures(recipe):
        recipe.lora.check()
        recipe.settings.check()
        return _fit(training, emit, should_stop)


def _fit(training: Training[Any], emit: Callable[[Any], None], should_stop: Callable[[], bool]) -> TrainingResult:
    from transformers import PrinterCallback
    from trl.trainer.utils import disable_dropout_in_model

    job, recipe, settings = training.job, training.job.recipe, training.job.recipe.settings

    # 1. CPU threads, device, arithmetic.
    device = start_device(job)
    dtype = training_dtype(device)

    # 2. Tokenizer and base. The base's own dropout is switched off; the adapter's is a setting and is honoured.
    tokenizer = load_tokenizer(job.base_path, trust_remote_code=job.trust_remote_code)
    model = training.load(tokenizer, device, dtype)
    disable_dropout_in_model(model)
    if job.start is not None:
        training.start = StartAdapter(model, job.start)
    # A small model gains nothing from more threads, and chat beside it loses.
    small = model.num_parameters() < SMALL_MODEL
    threads = (lambda: max(1, job.threads() // 2)) if small else job.threads
    base = Base(model, tokenizer, device, dtype)

    # 3. The method's data and TRL's trainer, which seeds and puts the LoRA on the base.
    clock, base_id = Clock(settings.max_seconds), public_id(recipe.base.id)
    trainer = training.trainer(
        base,
        model=model,
        processing_class=tokenizer,
        peft_config=training.lora(model),
        base_id=base_id,
        timed=clock.share if settings.max_seconds > 0 else None,
    )
    trainer.remove_callback(PrinterCallback)
    fuse_lora(trainer.model)

    # 4. Who observes the model, and who tells of each step, saves and stops.
    observer = training.observer(
        trainer, base, model=trainer.model, tokenizer=tokenizer, emit=emit, elapsed=clock.elapsed
    )
    snapshots = Snapshots(
        job.folder, lambda place: training.save(trainer.model, place, base_id), job.steps_kept, job.steps_mb
    )
    progress = progress_callback_class()(settings, trainer, observer, snapshots, clock, emit, should_stop, threads)
    trainer.add_callback(progress)

    # 5. Train, from the newest complete checkpoint where the job resumes.
    checkpoints = job.folder / "checkpoint"
    checkpoint = last_checkpoint(checkpoints) if job.resume else None
    if checkpoint is not None:
        clock.before = read_progress(checkpoint)
    clock.start()
    with warnings.catch_warnings():  # TRL asks transformers by an old name at every step; nobody here can mend that
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds, steps = clock.elapsed(), trainer.state.global_step

    # 6. Save the adapter before anything is measured: from here on a failure costs figures, not the training.
    snapshots.make_room()
    training.save(trainer.model, job.folder, base_id)
    observer.save()
    emit(WeightChange(steps, weight_change(trainer.model)))

    # 7. Observe and measure the end. Who stopped a slow run does not want to wait for more of it.
    if not progress.stopped or observer.quick:
        observer.observe(steps, probe=True, sample=True)
        observer.measure(steps, brief=progress.stopped)

    # 8. A finished run needs no checkpoint; a stopped one may go on from it.
    if not progress.stopped:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return TrainingResult(steps, progress.stopped, seconds)
