"""A trainer process whose workers play a script instead of training (``python -m tests.helpers.scripted_trainer``).

The script of a run is its system prompt: words separated by blanks, e.g. ``steps=5 pause=0.05 then=raise:MemoryError``.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from studio.config import ZEROGPU, load_settings
from studio.domain.events import MeasureEvent, ProbeEvent, SampleEvent, StepEvent, SupportShare
from studio.errors import TrainingError
from studio.services.worker import run as worker
from studio.services.worker import trainer

IDLE_EXIT_S = float(os.environ.get("SCRIPTED_IDLE_EXIT_S", "120"))


@dataclass(frozen=True)
class Played:
    steps: int
    stopped: bool


def step_event(step: int, total: int) -> StepEvent:
    return StepEvent(
        step=step,
        total=total,
        epoch=step / total,
        loss=0.7 - 0.01 * step,
        reward_chosen=0.1 * step,
        reward_rejected=-0.1 * step,
        margin=0.2 * step,
        accuracy=1.0,
        logp_chosen=-10.0,
        logp_rejected=-11.0,
        learning_rate=1e-3,
        grad_norm=1.0,
        tokens_per_second=1000.0,
        elapsed=0.1 * step,
        eta=0.1 * (total - step),
    )


def play(job: worker.Job, emit: Callable[[worker.Emitted], None], should_stop: Callable[[], bool]) -> Played:
    """Emit ``steps`` steps, ``pause`` seconds apart, then end as ``then`` says. ``deaf=1`` never looks at stop requests."""
    script = dict(word.split("=", 1) for word in job.recipe.system_prompt.split())
    total, pause = int(script.get("steps", "3")), float(script.get("pause", "0.01"))
    checkpoint = job.folder / "checkpoint" / "step.json"
    first = json.loads(checkpoint.read_text()) + 1 if checkpoint.exists() else 1
    with open(job.folder.parent / "order.txt", "a") as order:
        order.write(f"{job.recipe.run_id} {first}\n")
    print("hello from the script", flush=True)
    for step in range(first, total + 1):
        time.sleep(pause)
        emit(step_event(step, total))
        if step % 2 == 0:
            checkpoint.parent.mkdir(exist_ok=True)
            checkpoint.write_text(json.dumps(step))
        if should_stop() and "deaf" not in script:
            (job.folder / "adapter_model.safetensors").write_bytes(b"half")
            return Played(step, True)
    end, _, what = script.get("then", "done").partition(":")
    if end == "raise":
        errors = {
            "MemoryError": MemoryError(),
            "RuntimeError": RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
            "NoSpace": OSError(errno.ENOSPC, "No space left on device"),
            "NaN": TrainingError("The loss became NaN at step 3; try a lower learning rate."),
            "KeyError": KeyError("surprise"),
        }
        raise errors[what]
    if end == "signal":
        os.kill(os.getpid(), signal.Signals[what])
        time.sleep(30)
    if end == "sleep":
        (job.folder / "adapter_model.safetensors").write_bytes(b"whole")
        time.sleep(float(what))
    if end == "exit":
        os._exit(int(what))
    emit(ProbeEvent(step=total, share=0.9, n=20, margin=0.5, elapsed=1.0))
    emit(SampleEvent(step=total, prompt="Hi?", answer="Yes."))
    share = SupportShare(share=0.9, low=0.7, high=0.97, n=18, abstained=2, judge_accuracy=0.95, judge_n=100)
    emit(MeasureEvent(who="adapter", step=total, measured=share))
    (job.folder / "adapter_model.safetensors").write_bytes(b"whole")
    return Played(total, False)


if __name__ == "__main__":
    # Other people edit the sources while tests run; this trainer must not restart as the real one because of it.
    trainer._source_stamp = lambda: 0.0
    if load_settings().ray_address:
        from studio.services.cluster import compute, dispatcher

        compute.EXCLUDED.remove("/tests")
        dispatcher.main("tests.helpers.scripted_trainer", IDLE_EXIT_S)
    elif load_settings().device == ZEROGPU:
        from studio.services.worker.lent import LentCompute, LentTrainer
        from tests.helpers.zerogpu import without_cuda

        without_cuda()
        LentTrainer(load_settings(), LentCompute(load_settings(), play)).serve()
    else:
        trainer.main(play, lambda: None, IDLE_EXIT_S)
