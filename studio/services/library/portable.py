"""Recipes without paths of this machine."""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from studio.config import ROOT, Settings
from studio.domain.runs import BaseModelRef, DetoxRecipe, Recipe
from studio.domain.toxicity import public_name
from studio.services.hub import is_hub_id


def portable_base(base: BaseModelRef) -> BaseModelRef:
    """The base without a path of this machine: a local folder keeps its name, and its fingerprint tells it elsewhere."""
    return base if base.id == "embedded" or is_hub_id(base.id) else replace(base, id=Path(base.id).name)


def portable_recipe(recipe: Recipe) -> Recipe:
    """The recipe without a path of this machine, neither of the base nor of a detox run's scorers."""
    recipe = replace(recipe, base=portable_base(recipe.base))
    if not isinstance(recipe, DetoxRecipe):
        return recipe
    detox = recipe.settings
    terms = tuple(replace(term, scorer=public_name(term.scorer)) for term in detox.rewards)
    return replace(recipe, settings=replace(detox, rewards=terms, judge=public_name(detox.judge)))


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
