"""Turn files from outside into a run folder: find the base they belong to, check every record, rewrite what names this
machine or another. Nothing appears among the runs until all of it is sound."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.config import Settings
from studio.domain.data import PreferenceDataset
from studio.domain.detox import DetoxPlan
from studio.domain.runs import FINAL_STATES, BaseModelRef, ImportedRecipe, KtoRecipe, PairRecipe, Recipe, RunStatus
from studio.domain.settings import LoraSettings
from studio.errors import InputError
from studio.services.files.choosing import CONFIG, FOREIGN_CARD, TEMPLATES, TOP, WEIGHTS
from studio.services.files.records import parse, read_json, sane_json, write_record
from studio.services.files.unpacking import MIB, Unpacked
from studio.services.library.adapter_config import MERGE_FIRST
from studio.services.library.adapter_files import AdapterFacts, check_adapter
from studio.services.library.base_match import Match, find_base
from studio.services.library.portable import portable_base
from studio.services.library.snapshot import check_snapshot
from studio.services.runs.events import EVENT_KINDS, SAMPLE_KINDS
from studio.services.runs.folder import PLAN
from studio.services.runs.recipe_file import parse_recipe

if TYPE_CHECKING:
    from studio.services.models.service import ModelService

_ID = re.compile(r"^[a-z0-9][a-z0-9-]{2,80}$")


@dataclass(frozen=True)
class Imported:
    """A run that was imported. ``warnings`` are sentences fit to be shown; ``left_out`` are files that were not kept."""

    run_id: str
    title: str
    base: BaseModelRef
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]


#: Fills an empty folder with the files of an upload, at most so many bytes.
Fill = Callable[[Path, int], Unpacked]


def import_adapter(fill: Fill, name: str, settings: Settings, models: ModelService, base: str = "") -> Imported:
    """Import one adapter. ``name`` is what it was called outside; ``base`` names the base where the upload does not
    (or wrongly) say.

    Raises:
        InputError: something in it is not sound, or it was made for another base; nothing was kept.
        ModelLoadError: ``base`` is not on this machine.
    """
    home = settings.adapters_dir
    home.mkdir(parents=True, exist_ok=True)
    raw = Path(tempfile.mkdtemp(prefix=".upload-", dir=home))
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=home))
    try:
        unpacked = fill(raw, settings.max_upload_mb * MIB)
        facts = check_adapter(raw)
        recipe = _recipe(raw, facts, name)
        if facts.reward != (recipe is not None and recipe.method == "reward"):
            raise InputError(
                "A reward model is imported with the run.json this studio wrote for it (a zip made by Download zip has it); "
                f"{CONFIG} and run.json do not agree here."
            )
        named, fingerprint = (recipe.base.id, recipe.base.fingerprint) if recipe else (facts.base, "")
        match = find_base(base or named, "" if base else fingerprint, facts, models, settings)
        _check_numbers(raw / WEIGHTS, facts, match)
        ref, warnings = match.ref, [*_chosen(unpacked), *match.warnings, *_other_template(raw, match)]
        if recipe is None:
            recipe = foreign_recipe(name, ref, facts)
            warnings.append("It came without run.json, so how it was trained is unknown and shown as such.")
        recipe = replace(recipe, base=ref)
        (raw / WEIGHTS).rename(made / WEIGHTS)
        write_record(made / CONFIG, {**facts.config, "base_model_name_or_path": portable_base(ref).id})
        _records(raw, made, recipe)
        made.chmod(0o755)
        run_id = install(made, recipe, home, name)
        if recipe.run_id and not _ID.match(recipe.run_id):
            warnings.append(
                f"Its record calls it {recipe.run_id[:80]!r}, which is no run id, so it is called {run_id}."
            )
        elif recipe.run_id not in ("", run_id):
            warnings.append(f"A run named {recipe.run_id} is here already, so this one is called {run_id}.")
        return Imported(run_id, recipe.title or run_id, ref, tuple(warnings), unpacked.left_out)
    finally:
        shutil.rmtree(raw, ignore_errors=True)
        shutil.rmtree(made, ignore_errors=True)


def _chosen(unpacked: Unpacked) -> list[str]:
    """Which of several adapters was taken, where there was a choice."""
    if not unpacked.others:
        return []
    shown = ", ".join(unpacked.others[:8]) + (", …" if len(unpacked.others) > 8 else "")
    taken = "the adapter at its top" if unpacked.folder == TOP else unpacked.folder
    return [
        f"It holds {len(unpacked.others) + 1} adapters: {taken} was taken; the others are {shown} (choose in the menu, or by --checkpoint on the command line)."
    ]


def _other_template(raw: Path, match: Match) -> list[str]:
    """Whether the adapter came with another chat template than its base's: it is asked in the base's here."""
    own = _template(raw)
    if not own or match.folder is None or own == _template(match.folder):
        return []
    return [
        "It came with a chat template that is not its base's. Here it is asked in the base's, so its answers can differ from those "
        "it gives in its own."
    ]


def _template(folder: Path) -> str:
    """The chat template of a tokenizer's folder; empty where there is none that can be read."""
    for name in TEMPLATES:
        try:
            if name.endswith(".json"):
                record = read_json(folder / name, name)
                template = record.get("chat_template") if isinstance(record, dict) else None
            else:
                template = (folder / name).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, InputError):
            continue
        if isinstance(template, str) and template.strip():
            return template.strip()
    return ""


def _check_numbers(weights: Path, facts: AdapterFacts, match: Match) -> None:
    """Look at the weights themselves: finite, and of embeddings only copies of the base's, which are then dropped.

    Raises:
        InputError: they are not.
    """
    from studio.ml.lora.weights import not_finite, rewrite_without, trained

    broken = not_finite(weights)
    if broken:
        raise InputError(
            f"{WEIGHTS} holds numbers that are none (NaN or infinity, first in {broken[:120]}), so it can answer nothing: its "
            "training came apart. Use an earlier checkpoint."
        )
    if not facts.whole:
        return
    if match.folder is None:
        raise InputError(
            f"The adapter holds embeddings ({', '.join(facts.whole)}); whether they are trained can only be told with its base "
            f"{match.ref.id} on this machine: fetch that first (python -m studio bases get {match.ref.id})."
        )
    changed = trained(weights, facts.whole, match.folder)
    if changed:
        raise InputError(f"The adapter has trained embeddings ({', '.join(changed)}); {MERGE_FIRST}.")
    rewrite_without(weights, set(facts.whole.values()))


def foreign_recipe(name: str, base: BaseModelRef, facts: AdapterFacts) -> ImportedRecipe:
    """The recipe of an adapter nobody knows the training of."""
    return ImportedRecipe(
        run_id="",
        title=_clean_title(name),
        base=base,
        dataset_id="",
        dataset_title="unknown",
        dataset_hash="",
        row_ids=(),
        system_prompt="",
        preset="",
        lora=LoraSettings(facts.rank, round(facts.alpha), facts.dropout, ",".join(facts.targets)),
        created=time.time(),
        versions={},
    )


def _recipe(folder: Path, facts: AdapterFacts, name: str) -> Recipe | None:
    path = folder / "run.json"
    if not path.is_file():
        return None
    recipe = parse_recipe(read_json(path, "run.json"), "run.json")
    if isinstance(recipe, ImportedRecipe):
        # One that was foreign where it comes from stays so, whatever else its record claims.
        return replace(foreign_recipe(recipe.title or name, recipe.base, facts), run_id=recipe.run_id)
    if isinstance(recipe, KtoRecipe) and len(recipe.row_ids) != len(recipe.rows_liked):
        raise InputError(f"run.json lists {len(recipe.row_ids)} rows and {len(recipe.rows_liked)} thumbs.")
    if isinstance(recipe, PairRecipe):
        if not 0 <= recipe.support_ratio <= 1:
            raise InputError(f"run.json: support_ratio is {recipe.support_ratio}; it must be between 0 and 1.")
        if len(recipe.row_ids) != len(recipe.rows_support):
            raise InputError(f"run.json lists {len(recipe.row_ids)} rows and {len(recipe.rows_support)} sides.")
    for field in (*dataclasses.astuple(recipe.lora), *dataclasses.astuple(recipe.settings)):
        if isinstance(field, float) and not math.isfinite(field):
            raise InputError("run.json: a hyper-parameter is not a number.")
    # a run that went on from an adapter holds the ranks of both
    if recipe.lora.rank != facts.rank and not (recipe.start_run and recipe.lora.rank < facts.rank):
        raise InputError(
            f"run.json says LoRA rank {recipe.lora.rank}, {CONFIG} says {facts.rank}; the files do not belong together."
        )
    now = time.time()
    return replace(
        recipe,
        title=_clean_title(recipe.title),
        created=recipe.created if 0 < recipe.created < now + 86_400 else now,
        system_prompt=recipe.system_prompt[:8000],
    )


def _records(raw: Path, made: Path, recipe: Recipe) -> None:
    """Write the run's records anew from what was parsed, so that nothing unread comes along."""
    status = RunStatus("done")
    if (raw / "status.json").is_file():
        status = parse(RunStatus, read_json(raw / "status.json", "status.json"), "status.json")
    state = status.state if status.state in FINAL_STATES else "stopped"
    now = time.time()
    write_record(
        made / "status.json",
        RunStatus(
            state, status.message[:500], updated=now, step=status.step, total=status.total, seconds=status.seconds
        ),
    )
    if (raw / "notes.json").is_file():
        notes = read_json(raw / "notes.json", "notes.json")
        if isinstance(notes, dict):
            title, note = (str(notes.get(key, "")) for key in ("title", "note"))
            write_record(made / "notes.json", {"title": _clean_title(title), "note": note[:10_000]})
    if (raw / "dataset.json").is_file():
        dataset = parse(PreferenceDataset, read_json(raw / "dataset.json", "dataset.json"), "dataset.json")
        check_snapshot(dataset, recipe)
        write_record(made / "dataset.json", dataset)
    if (raw / PLAN).is_file():
        write_record(made / PLAN, parse(DetoxPlan, read_json(raw / PLAN, PLAN), PLAN))
    _lines(raw / "events.jsonl", made / "events.jsonl", lambda data: EVENT_KINDS.get(str(data.get("type"))))
    _lines(
        raw / "samples.jsonl", made / "samples.jsonl", lambda data: SAMPLE_KINDS.get(str(data.get("type", "sample")))
    )
    if (raw / "log.txt").is_file():
        (raw / "log.txt").rename(made / "log.txt")
    if recipe.method == "unknown":
        for card in (FOREIGN_CARD, "README.md"):
            if (raw / card).is_file():
                (raw / card).rename(made / FOREIGN_CARD)
                break


def _lines(source: Path, target: Path, kind_of: Callable[[dict[str, Any]], Any]) -> None:
    if not source.is_file():
        return
    with open(source, "rb") as lines, open(target, "w", encoding="utf-8") as out:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{source.name}, line {number}"
            data = sane_json(line, where)
            kind = kind_of(data) if isinstance(data, dict) else None
            if kind is None:
                raise InputError(f"{where} is not a record of this studio.")
            record = dataclasses.asdict(parse(kind, data, where))
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def install(made: Path, recipe: Recipe, home: Path, name: str) -> str:
    """Give the finished folder its name among the runs: its own, or that with a number where it is taken."""
    own_id = recipe.run_id if _ID.match(recipe.run_id) else f"upload-{_slug(name)}"
    for number in range(1, 1000):
        run_id = own_id if number == 1 else f"{own_id[:75]}-{number}"
        if os.path.lexists(home / run_id):
            continue
        write_record(made / "run.json", replace(recipe, run_id=run_id))
        try:
            made.rename(home / run_id)
        except OSError:
            if os.path.lexists(home / run_id):  # another upload was faster
                continue
            raise
        return run_id
    raise InputError(f"There are too many runs named {own_id}; delete some.")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50] or "adapter"


def _clean_title(title: str) -> str:
    return " ".join(title.split())[:120]
