"""What leaves the studio of a run: the adapter, its record and its card, with no absolute path inside and never a
checkpoint, a pickle or a job's settings."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from studio.config import ROOT, Settings
from studio.domain.runs import BaseModelRef, Recipe
from studio.domain.toxicity import public_name
from studio.services.cards import is_hub_id, write_card
from studio.services.records import write_record
from studio.services.run_folder import PLAN
from studio.services.runs import RunView
from studio.services.unpacking import CONFIG, FOREIGN_CARD, WEIGHTS

#: What is published on the Hub: all but the record of this studio (status, notes, log, data).
PUBLISHED = (WEIGHTS, CONFIG, "README.md", "run.json", "events.jsonl", "samples.jsonl", FOREIGN_CARD)


def portable_base(base: BaseModelRef) -> BaseModelRef:
    """The base without a path of this machine: a local folder keeps its name, and its fingerprint tells it elsewhere."""
    return base if base.id == "embedded" or is_hub_id(base.id) else replace(base, id=Path(base.id).name)


def portable_recipe(recipe: Recipe) -> Recipe:
    """The recipe without a path of this machine, neither of the base nor of a detox run's scorers."""
    detox = recipe.detox
    if detox is not None:
        terms = tuple(replace(term, scorer=public_name(term.scorer)) for term in detox.rewards)
        detox = replace(detox, rewards=terms, judge=public_name(detox.judge))
    return replace(recipe, base=portable_base(recipe.base), detox=detox)


@contextlib.contextmanager
def staged(
    view: RunView, settings: Settings, *, include_log: bool = False, include_data: bool = False, adapter_ref: str = ""
) -> Iterator[Path]:
    """A temporary folder with a run's files as they may leave the studio; removed at the end.

    ``include_log`` adds the log (paths of this machine blanked), ``include_data`` the pairs or prompts it was trained on.

    Raises:
        OSError: the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="studio-") as name:
        folder = Path(name)
        source = view.folder
        _link_or_copy(source / WEIGHTS, folder / WEIGHTS)
        config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
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


def pack(folder: Path, target: Path, top: str) -> Path:
    """Zip the files below ``folder`` under one top folder ``top``; ``target`` appears whole or not at all.

    Raises:
        OSError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".zip-", delete=False) as out:
        try:
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                    # Weights do not compress; trying costs seconds per gigabyte.
                    method = zipfile.ZIP_STORED if path.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
                    archive.write(path, f"{top}/{path.relative_to(folder).as_posix()}", compress_type=method)
            out.flush()
            Path(out.name).chmod(0o644)
            Path(out.name).replace(target)
        except BaseException:
            Path(out.name).unlink(missing_ok=True)
            raise
    return target


def blank_paths(text: str, settings: Settings) -> str:
    """``text`` with the folders of this machine replaced by what they are for."""
    named = {
        str(settings.adapters_dir): "adapters",
        str(settings.cache_dir): "cache",
        str(settings.imported_dir): "imported",
        str(settings.data_dir): "data",
        str(settings.models_dir): "models",
        str(ROOT): "studio",
        sys.prefix: "<python>",
        sys.base_prefix: "<python>",
        tempfile.gettempdir(): "<tmp>",
        str(Path.home()): "~",
    }
    for path in sorted(named, key=len, reverse=True):
        if len(path) > 1:
            text = re.sub(re.escape(path) + r"(?![\w-])", named[path], text)
    return text


def _link_or_copy(source: Path, target: Path) -> None:
    """Weights can be gigabytes: a hard link where the file system allows one, else a copy. Nobody writes to either."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
