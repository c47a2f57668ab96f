"""Whether a run's copy of its data (``dataset.json``) is what its record says it was trained on."""

from __future__ import annotations

from studio.domain.data import PreferenceDataset
from studio.domain.runs import Recipe
from studio.errors import InputError
from studio.services.data.preference_rows import content_hash
from studio.services.data.stance_prefix import without_stance_prefix
from studio.services.runs.folder import SNAPSHOT_HELDOUT, SNAPSHOT_PAIRS, SNAPSHOT_PROMPTS


def check_snapshot(dataset: PreferenceDataset, recipe: Recipe) -> None:
    """Raises InputError where ``dataset`` is not the data that ``recipe`` names. Of data with many rows only some are kept, whose
    hash nobody knows: there the hash it was given must do."""
    if dataset.content_hash != recipe.dataset_hash:
        raise InputError("dataset.json is not the data that run.json names (their hashes differ).")
    used = set(recipe.row_ids)
    spare = sum(row.id not in used for row in dataset.rated or dataset.pairs)
    if spare >= SNAPSHOT_PAIRS or len(dataset.heldout) >= SNAPSHOT_HELDOUT or len(dataset.prompts) >= SNAPSHOT_PROMPTS:
        return
    for held in (dataset, without_stance_prefix(dataset)):
        if content_hash(held.pairs, held.heldout, held.test_prompts, held.prompts, held.rated) == dataset.content_hash:
            return
    raise InputError("dataset.json was changed: what it holds has another hash than it says.")
