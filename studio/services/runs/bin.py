"""A deleted run, back in its place (:mod:`studio.services.files.bin` has the bin)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

from studio.domain.runs import FINAL_STATES
from studio.errors import ConflictError, NotFoundError
from studio.services.files.bin import deleted_last
from studio.services.runs.status import read_status, write_status


def restore(adapters_dir: Path, run_id: str) -> None:
    """Move a run back; of several of that id the one deleted last. The caller holds the queue's lock.

    Raises:
        NotFoundError: the bin holds no such run.
        ConflictError: a run of that id is there.
    """
    folder = deleted_last(adapters_dir, [run_id])
    if folder is None:
        raise NotFoundError(f"The bin holds no run {run_id}.")
    if os.path.lexists(adapters_dir / run_id):
        raise ConflictError(f"There is a run {run_id} already; delete that one first.")
    with contextlib.suppress(FileNotFoundError):
        status = read_status(folder)
        if status.state not in FINAL_STATES:  # back in its place, it must not begin by itself
            write_status(folder, replace(status, state="interrupted", message="It was deleted before it was done."))
    folder.rename(adapters_dir / run_id)
