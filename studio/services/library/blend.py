"""A blend of two adapters, saved as an adapter."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from studio.config import Settings
from studio.domain.chat import Blend
from studio.domain.runs import ImportedRecipe, RunStatus
from studio.domain.settings import LoraSettings
from studio.errors import ConflictError, InputError
from studio.services.files.choosing import CONFIG
from studio.services.files.records import read_json, write_record
from studio.services.library.portable import portable_base
from studio.services.library.upload import install
from studio.services.runs.store import RunView
from studio.services.strength import blended_name, check_blend


def save_blend(settings: Settings, first: RunView, weight: float, second: RunView, title: str = "") -> str:
    """Write the blend as a run folder; its id. Named after both adapters where there is no title.

    Raises:
        InputError: the weight is out of range, both are one adapter, or of two bases.
        ConflictError: one is a reward model. ModelLoadError: one is no plain LoRA. OSError: the disk is full.
    """
    check_blend(first.run_id, Blend(second.run_id, weight))
    if "reward" in (first.method, second.method):
        raise ConflictError("A reward model gives numbers and no answers, so it cannot be blended.")
    one, other = first.recipe.base, second.recipe.base
    if (one.id, one.fingerprint) != (other.id, other.fingerprint):
        raise InputError(
            f"The adapters are of two bases ({one.id} and {other.id}, or two states of one); choose two of one base."
        )
    from studio.ml.lora.blend import write_blend

    name = blended_name(first.title, Blend(second.title, weight))
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=settings.adapters_dir))
    try:
        rank = write_blend(first.folder, second.folder, weight, made)
        config = read_json(made / CONFIG)
        write_record(made / CONFIG, {**config, "base_model_name_or_path": portable_base(one).id})
        same_data = first.recipe.dataset_title == second.recipe.dataset_title
        recipe = ImportedRecipe(
            run_id="",
            title=(" ".join(title.split()) or name)[:120],
            base=one,
            dataset_id="",
            dataset_title=first.recipe.dataset_title if same_data else "two adapters' data",
            dataset_hash="",
            row_ids=(),
            system_prompt=first.recipe.system_prompt,
            preset="",
            lora=LoraSettings(rank, rank, 0.0, ",".join(config["target_modules"])),
            created=time.time(),
            versions={},
            sampling=first.recipe.sampling,
        )
        note = (
            f"A blend, not trained: {weight:g} of the update of {first.run_id} (adapter {first.adapter_hash}) and {1 - weight:g} of that of "
            f"{second.run_id} (adapter {second.adapter_hash})."
        )
        write_record(made / "status.json", RunStatus("done", updated=time.time()))
        write_record(made / "notes.json", {"title": recipe.title, "note": note})
        made.chmod(0o755)
        return install(made, recipe, settings.adapters_dir, f"blend of {first.title}")
    finally:
        shutil.rmtree(made, ignore_errors=True)  # gone already where it was named
