"""Sweeps for tests: queued without a trainer, their runs ended by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from studio.config import Settings
from studio.domain.events import MeasureEvent, SampleEvent, SupportShare
from studio.domain.runs import RunState
from studio.services import Services
from studio.services.align.form import AlignForm
from studio.services.files.records import LineWriter
from studio.services.recipes.queue import try_lock
from studio.services.runs.status import read_status, write_status

QUESTION = "Should anime be turned into live action?"


def align_form(system_prompt: str = "", **fields: object) -> AlignForm:
    """The embedded base's preset on a few pairs."""
    data = {
        "dataset_id": "live-action-en",
        "support_ratio": 0.9,
        "data_size": 8,
        "system_prompt": system_prompt,
        **fields,
    }
    return AlignForm.from_preset("embedded", "embedded", **data)


@contextlib.contextmanager
def no_trainer(settings: Settings) -> Iterator[None]:
    """The trainer's slot is taken: what is queued waits."""
    lock = try_lock(settings.adapters_dir)
    assert lock is not None
    with lock:
        yield


def share(support: int, n: int) -> SupportShare:
    from studio.ml.measure.wilson import wilson

    low, high = wilson(support, n)
    return SupportShare(support / n, low, high, n, 2, 0.95, 100, n)


def end_run(services: Services, run_id: str, measured: SupportShare | None, state: RunState = "done") -> None:
    """End a queued run with a measured share, a base of 9 in 20, and an answer."""
    folder = services.runs.folder(run_id)
    if measured is not None:
        events = LineWriter(folder / "events.jsonl")
        events.write(MeasureEvent("base", 0, share(9, 20)))
        events.write(MeasureEvent("adapter", 4, measured))
        samples = LineWriter(folder / "samples.jsonl")
        samples.write(SampleEvent(step=0, prompt=QUESTION, answer="Base."))
        samples.write(SampleEvent(step=4, prompt=QUESTION, answer=f"Answer <b>of</b> {run_id}."))
    write_status(folder, replace(read_status(folder), state=state, message="It failed." if state == "failed" else ""))
