"""``RUN@vector``: the steering vector of a run's training pairs, the baseline without training."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from studio.config import Settings
from studio.domain.chat import VECTOR
from studio.domain.runs import DpoRecipe
from studio.ml.chat.engine import ChatEngine
from studio.ml.chat.request import BaseSource
from studio.ml.lora.shift import write_shift
from studio.ml.measure.steering import DEPTH as DEPTH
from studio.ml.measure.steering import steered_layer, steering_vector
from studio.ml.training.pairs import encode_rows
from studio.ml.training.setup import token_limit
from studio.services.data.dial import named_rows
from studio.services.files.choosing import CONFIG, WEIGHTS
from studio.services.runs.folder import DATASET
from studio.services.runs.store import RunStore, RunView


def is_vector(name: str) -> bool:
    """Whether an adapter's name is that of a steering vector."""
    return name.endswith(f"@{VECTOR}")


def has_pairs(run: RunView) -> bool:
    """Whether a steering vector can be made of a run."""
    return isinstance(run.recipe, DpoRecipe) and (run.folder / DATASET).is_file()


def vector_folder(settings: Settings, run: RunView) -> Path:
    """Where the vector of a run's pairs is kept.

    Raises:
        RecipeError: the run is of another method.
    """
    recipe = DpoRecipe.of(run.recipe)
    of = [recipe.base.fingerprint, recipe.dataset_hash, recipe.row_ids, recipe.rows_support, recipe.system_prompt]
    key = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]
    return settings.cache_dir / "steering" / f"{run.run_id}-{key}"


def made_vector(settings: Settings, engine: ChatEngine, source: BaseSource, runs: RunStore, run: RunView) -> Path:
    """The folder of a run's vector, made now where it is not kept yet.

    Raises:
        RecipeError: the run is of another method. NotFoundError, InputError: its pairs are not here.
        InputError: its base has no layers to steer. ModelLoadError: the base cannot be loaded.
    """
    folder = vector_folder(settings, run)
    if (folder / WEIGHTS).is_file():
        return folder
    recipe = DpoRecipe.of(run.recipe)
    rows = named_rows(runs.dataset(run.run_id).pairs, recipe.row_ids, recipe.rows_support)

    def work(model: Any, tokenizer: Any) -> None:
        layer = steered_layer(model)[1]
        path = next(name for name, module in model.named_modules() if module is layer)
        limit = token_limit(model, recipe.settings.max_length)
        pairs = encode_rows(tokenizer, rows, recipe.system_prompt, limit)
        write_shift(folder, WEIGHTS, CONFIG, path, steering_vector(model, tokenizer, pairs))

    engine.with_base(source, work)
    return folder
