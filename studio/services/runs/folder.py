"""A run folder comes and goes whole: made beside its place and renamed, renamed away and then removed."""

from __future__ import annotations

import dataclasses
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from studio.config import Settings
from studio.domain.data import PreferenceDataset, PreferencePair, RatedAnswer
from studio.domain.detox import DetoxPlan
from studio.domain.runs import Recipe, RunStatus
from studio.errors import ConflictError
from studio.services.files.records import write_record

#: The trained weights, under the name plain PEFT looks for.
ADAPTER = "adapter_model.safetensors"
#: The data of a run, and the prompts of a detox run.
DATASET = "dataset.json"
PLAN = "plan.json"
R = TypeVar("R", PreferencePair, RatedAnswer)
#: Pairs kept in a run's data snapshot beyond those it trains on: the stance judge is fitted on them too, and needs no more.
SNAPSHOT_PAIRS = 200
#: Held-out pairs that a run is measured on at most.
SNAPSHOT_HELDOUT = 10_000
#: Prompts without answers that are kept, and asked for at all, at most.
SNAPSHOT_PROMPTS = 20_000


@dataclass(frozen=True)
class Notes:
    """What a person wrote about a run (``notes.json``)."""

    title: str = ""
    note: str = ""


def create_folder(
    folder: Path, recipe: Recipe, dataset: PreferenceDataset | None, settings: Settings, plan: DetoxPlan | None = None
) -> None:
    """Write the folder of a queued run: all of it or nothing.

    Raises:
        ConflictError: a run of that id exists.
        OSError: the disk is full or not writable.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        write_record(temporary / "run.json", recipe)
        if dataset is not None:
            write_record(temporary / DATASET, _snapshot(recipe, dataset))
        if plan is not None:
            write_record(temporary / PLAN, plan)
        write_record(temporary / "job.json", portable(settings))
        now = time.time()
        write_record(temporary / "status.json", RunStatus("queued", "Waiting for its turn.", updated=now))
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError as error:
        if folder.exists():
            raise ConflictError(f"A run named {recipe.run_id} exists already.") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # gone already where the rename succeeded


def remove_folder(folder: Path) -> None:
    """Make a run vanish at once, then remove its files. The caller has made sure that nobody writes there."""
    trash = folder.with_name(f".trash-{folder.name}-{secrets.token_hex(4)}")
    try:
        folder.rename(trash)
    except FileNotFoundError:
        return
    shutil.rmtree(trash, ignore_errors=True)


def new_run_id(dataset_id: str, support_ratio: float | None) -> str:
    """A fresh run id that says what it is: data, ratio in percent (of a method that has one), time, four random digits."""
    ratio = "" if support_ratio is None else f"-r{round(support_ratio * 100):02d}"
    slug = re.sub(r"[^a-z0-9]+", "-", dataset_id.lower()).strip("-")[:40] or "data"
    return f"{slug}{ratio}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def clear_away(path: Path) -> None:
    """Remove a file of a run folder, or whatever else lies under its name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _snapshot(recipe: Recipe, dataset: PreferenceDataset) -> PreferenceDataset:
    used = set(recipe.row_ids)
    heldout = tuple(dataset.heldout[:SNAPSHOT_HELDOUT])
    prompts = tuple(dataset.prompts[:SNAPSHOT_PROMPTS])
    pairs, rated = _some(dataset.pairs, used), _some(dataset.rated, used)
    return replace(dataset, pairs=pairs, rated=rated, heldout=heldout, prompts=prompts)


def _some(rows: Sequence[R], used: set[str]) -> tuple[R, ...]:
    """The rows that are used, and the first of the others; what lies behind them is not read."""
    spare, missing = SNAPSHOT_PAIRS, len(used)
    kept = []
    for row in rows:
        if row.id in used:
            missing -= 1
        elif spare:
            spare -= 1
        else:
            continue
        kept.append(row)
        if not (spare or missing):
            break
    return tuple(kept)


def portable(settings: Settings, **changes: Any) -> dict[str, Any]:
    """Settings with ``changes`` as plain data for the trainer, without secrets: the operator's password, the database a password may
    stand in, the key of the server that answers."""
    values = dataclasses.asdict(replace(settings, **changes, admin_password="", database_url="", chat_key=""))
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
