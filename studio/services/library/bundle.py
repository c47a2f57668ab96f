"""What leaves the studio of a run: the adapter, its record and its card, with no absolute path inside and never a
checkpoint, a pickle or a job's settings."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.config import Settings
from studio.errors import ConflictError, NotFoundError
from studio.services.files.choosing import CONFIG, FOREIGN_CARD, WEIGHTS
from studio.services.files.records import read_json, write_record
from studio.services.files.zips import link_or_copy
from studio.services.library.model_card import write_card
from studio.services.library.portable import blank_paths, portable_base, portable_recipe
from studio.services.runs.folder import PLAN
from studio.services.runs.store import RunView
from studio.services.strength import at_strength, check_strength

#: What is published on the Hub: all but the record of this studio (status, notes, log, data).
PUBLISHED = (WEIGHTS, CONFIG, "README.md", "run.json", "events.jsonl", "samples.jsonl", FOREIGN_CARD)


@contextlib.contextmanager
def staged(
    view: RunView,
    settings: Settings,
    *,
    include_log: bool = False,
    include_data: bool = False,
    adapter_ref: str = "",
    strength: float = 1.0,
) -> Iterator[Path]:
    """A temporary folder with a run's files as they may leave the studio; removed at the end.

    ``include_log`` adds the log (paths of this machine blanked), ``include_data`` the pairs or prompts it was trained on. At another
    ``strength`` than 1 the weights are multiplied by it, and title, note and card say so.

    Raises:
        NotFoundError, InputError: its config is missing or broken.
        ConflictError: another strength, and not all the adapter changes is LoRA products.
        OSError: the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="studio-") as name:
        folder = Path(name)
        source = view.folder
        if not (source / CONFIG).is_file():
            raise NotFoundError(f"Run {view.run_id} has no {CONFIG}, so its adapter can be loaded by nothing.")
        config = read_json(source / CONFIG)
        if strength == 1:
            link_or_copy(source / WEIGHTS, folder / WEIGHTS)
        else:
            view = at(view, config, folder / WEIGHTS, strength)
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


def at(view: RunView, config: dict[str, Any], weights: Path, strength: float) -> RunView:
    """Write a run's weights at another strength to ``weights``; the run with the title and the note of that.

    Raises:
        InputError: ``strength`` is out of range.
        ConflictError: not all the adapter changes is LoRA products, which alone can be scaled exactly.
    """
    check_strength(strength)
    odd = [key for key in ("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices") if config.get(key)]
    if odd or config.get("bias", "none") != "none" or view.method == "reward":
        raise ConflictError(
            f"This adapter changes more than LoRA products ({', '.join(odd) or 'biases or a head'}), so it can only be saved at strength 1."
        )
    from studio.ml.lora.weights import scaled

    scaled(view.folder / WEIGHTS, weights, strength)
    said = (
        f"Saved at strength {strength:g}: the adapter's update of the base is multiplied by {strength:g}. What was measured was measured "
        "at strength 1."
    )
    return replace(view, title=f"{view.title}{at_strength(strength)}", note=f"{said}\n\n{view.note}".strip())
