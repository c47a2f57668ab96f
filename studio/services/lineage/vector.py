"""``RUN@vector``: the steering vector of a run's training pairs or rated answers, the baseline without training."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from studio.config import Settings
from studio.domain.chat import VECTOR
from studio.domain.runs import AlignRecipe, KtoRecipe, align_recipe
from studio.ml.chat.engine import ChatEngine
from studio.ml.chat.request import BaseSource
from studio.ml.lora.shift import write_shift
from studio.ml.measure.steering import DEPTH as DEPTH
from studio.ml.measure.steering import steered_layer, steering_vector
from studio.ml.training.pairs import EncodedAnswer, encode_rated, encode_rows
from studio.ml.training.setup import token_limit
from studio.services.data.annotated.rated import named_answers
from studio.services.data.dial import named_rows
from studio.services.files.choosing import CONFIG, WEIGHTS
from studio.services.runs.folder import DATASET
from studio.services.runs.store import RunStore, RunView


def is_vector(name: str) -> bool:
    """Whether an adapter's name is that of a steering vector."""
    return name.endswith(f"@{VECTOR}")


def can_steer(run: RunView) -> bool:
    """Whether a steering vector can be made of a run: it carries answers that were preferred and others."""
    recipe = run.recipe
    one_kind = isinstance(recipe, KtoRecipe) and len({*recipe.rows_liked}) < 2
    return isinstance(recipe, AlignRecipe) and not one_kind and (run.folder / DATASET).is_file()


def vector_folder(settings: Settings, run: RunView) -> Path:
    """Where the vector of a run is kept.

    Raises:
        RecipeError: the run is of another method.
    """
    recipe = align_recipe(run.recipe)
    kinds = recipe.rows_liked if isinstance(recipe, KtoRecipe) else recipe.rows_support
    of = [recipe.base.fingerprint, recipe.dataset_hash, recipe.row_ids, kinds, recipe.system_prompt]
    key = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]
    return settings.cache_dir / "steering" / f"{run.run_id}-{key}"


def made_vector(settings: Settings, engine: ChatEngine, source: BaseSource, runs: RunStore, run: RunView) -> Path:
    """The folder of a run's vector, made now where it is not kept yet.

    Raises:
        RecipeError: the run is of another method. NotFoundError, InputError: its data is not here.
        InputError: its base has no layers to steer, or all its answers are of one kind. ModelLoadError: the base cannot be loaded.
    """
    folder = vector_folder(settings, run)
    if (folder / WEIGHTS).is_file():
        return folder
    recipe, data = align_recipe(run.recipe), runs.dataset(run.run_id)

    def answers(tokenizer: Any, limit: int) -> tuple[list[EncodedAnswer], list[EncodedAnswer]]:
        """The preferred ones and the others, as the run was trained on them."""
        if isinstance(recipe, KtoRecipe):
            rated = named_answers(data.rated, recipe.row_ids)
            kinds = [[answer for answer in rated if answer.liked == liked] for liked in (True, False)]
            up, down = ([a for (a,) in encode_rated(tokenizer, k, recipe.system_prompt, limit)] for k in kinds)
            return up, down
        rows = named_rows(data.pairs, recipe.row_ids, recipe.rows_support)
        pairs = encode_rows(tokenizer, rows, recipe.system_prompt, limit)
        return [chosen for chosen, _ in pairs], [rejected for _, rejected in pairs]

    def work(model: Any, tokenizer: Any) -> None:
        layer = steered_layer(model)[1]
        path = next(name for name, module in model.named_modules() if module is layer)
        limit = token_limit(model, recipe.settings.max_length)
        write_shift(folder, WEIGHTS, CONFIG, path, steering_vector(model, tokenizer, *answers(tokenizer, limit)))

    engine.with_base(source, work)
    return folder
