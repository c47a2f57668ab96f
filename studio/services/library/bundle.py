"""What leaves the studio of a run: the adapter, its record and its card, with no absolute path inside and never a
checkpoint, a pickle or a job's settings."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from studio.config import Settings
from studio.errors import NotFoundError
from studio.services.files.choosing import CONFIG, FOREIGN_CARD, WEIGHTS
from studio.services.files.records import read_json, write_record
from studio.services.files.zips import link_or_copy
from studio.services.library.model_card import write_card
from studio.services.library.portable import blank_paths, portable_base, portable_recipe
from studio.services.runs.folder import PLAN
from studio.services.runs.store import RunView

#: What is published on the Hub: all but the record of this studio (status, notes, log, data).
PUBLISHED = (WEIGHTS, CONFIG, "README.md", "run.json", "events.jsonl", "samples.jsonl", FOREIGN_CARD)


@contextlib.contextmanager
def staged(
    view: RunView, settings: Settings, *, include_log: bool = False, include_data: bool = False, adapter_ref: str = ""
) -> Iterator[Path]:
    """A temporary folder with a run's files as they may leave the studio; removed at the end.

    ``include_log`` adds the log (paths of this machine blanked), ``include_data`` the pairs or prompts it was trained on.

    Raises:
        NotFoundError, InputError: its config is missing or broken.
        OSError: the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="studio-") as name:
        folder = Path(name)
        source = view.folder
        if not (source / CONFIG).is_file():
            raise NotFoundError(f"Run {view.run_id} has no {CONFIG}, so its adapter can be loaded by nothing.")
        link_or_copy(source / WEIGHTS, folder / WEIGHTS)
        config = read_json(source / CONFIG)
        config["base_model_name_or_path"] = portable_base(view.recipe.base).id
        write_record(folder / CONFIG, config)
        write_record(folder / "run.json", portable_recipe(view.recipe))
        message = blank_paths(view.status.message, settings)
        write_record(folder / "status.json", replace(view.status, message=message, pid=0, pid_started=0.0))
        if view.note or view.title != view.recipe.title:
            write_record(folder / "notes.json", {"title": view.title, "note": view.note})
        extras = ["events.jsonl", "samples.jsonl", FOREIGN_CARD, *(["dataset.json", PLAN] if include_data else [])]
        for extra in extras:
            if (source / extra).is_file():
                shutil.copyfile(source / extra, folder / extra)
        if include_log and (source / "log.txt").is_file():
            text = (source / "log.txt").read_text(encoding="utf-8", errors="replace")
            (folder / "log.txt").write_text(blank_paths(text, settings), encoding="utf-8")
        write_card(folder, view, adapter_ref)
        yield folder
