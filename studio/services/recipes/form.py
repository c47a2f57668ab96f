"""What the forms of all methods have in common, and what a recipe takes from them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

from studio.domain.data import PreferenceDataset, PreferenceRow, RatedAnswer
from studio.domain.runs import BaseModelRef, RowsThatFit
from studio.domain.settings import LoraSettings
from studio.errors import DatasetError, RecipeError
from studio.services.recipes.presets import Presets, S, find_preset
from studio.services.recipes.queue import library_versions

R = TypeVar("R", PreferenceRow, RatedAnswer)


@dataclass(frozen=True, kw_only=True)
class TrainingForm(Generic[S]):
    """What a person chose for a run, unchecked. ``base`` and ``dataset_id`` are ids of the respective services; without a
    ``title`` the run is named after its data. ``presets`` are those of the method."""

    presets: ClassVar[Presets[Any]]

    base: str
    dataset_id: str = ""
    system_prompt: str = ""
    preset: str
    lora: LoraSettings
    settings: S
    title: str = ""

    @classmethod
    def from_preset(cls, base: str, preset: str, **fields: Any) -> Self:
        """A form with a preset's settings; ``fields`` are further ones of the form.

        Raises:
            RecipeError: there is no such preset.
        """
        chosen = find_preset(cls.presets, preset)
        return cls(base=base, preset=preset, lora=chosen.lora, settings=chosen.settings, **fields)

    def check(self) -> None:
        """Check every setting.

        Raises:
            RecipeError: the first one out of range, with its value and what is allowed.
        """
        find_preset(self.presets, self.preset)
        self.lora.check()
        self.settings.check()
        for name, text, longest in (("system_prompt", self.system_prompt, 8000), ("title", self.title, 120)):
            if len(text) > longest:
                raise RecipeError(f"{name} has {len(text)} characters; {longest} are allowed.")


def recipe_fields(form: TrainingForm[Any], base: BaseModelRef, title: str) -> dict[str, Any]:
    """The fields of a recipe that every method takes from its form; ``title`` is that of an unnamed run."""
    return {
        "title": " ".join(form.title.split()) or title[:120],
        "base": base,
        "system_prompt": form.system_prompt.strip(),
        "preset": form.preset,
        "lora": form.lora,
        "settings": form.settings,
        "created": time.time(),
        "versions": library_versions(),
    }


def pair_fields(
    dataset: PreferenceDataset, asked: Sequence[PreferenceRow], support_ratio: float, fit: RowsThatFit
) -> dict[str, Any]:
    """The fields of a :class:`PairRecipe` that name its data and those rows of it that fit.

    Raises:
        RecipeError: none of them does.
    """
    rows = kept_rows(asked, fit)
    return {
        **row_fields(dataset, [row.pair_id for row in rows], fit),
        "dataset_kind": "sides" if dataset.kind == "sides" else "labels",
        "support_ratio": support_ratio,
        "rows_support": tuple(row.side == "support" for row in rows),
    }


def kept_rows(asked: Sequence[R], fit: RowsThatFit) -> list[R]:
    """Those of the rows asked for that fit.

    Raises:
        RecipeError: none of them does.
    """
    rows = [asked[place] for place in fit.kept]
    if not rows:
        raise RecipeError(f"None of the {len(asked)} rows can be trained on: {fit}")
    return rows


def row_fields(dataset: PreferenceDataset, row_ids: Sequence[str], fit: RowsThatFit) -> dict[str, Any]:
    """The fields of a :class:`RowsRecipe` that name its data."""
    return {
        "dataset_id": dataset.id,
        "dataset_title": dataset.title,
        "dataset_hash": dataset.content_hash,
        "row_ids": tuple(row_ids),
        "left_out": tuple(row.pair_id for row in fit.left_out),
        "cut": fit.cut,
    }


def with_pairs(dataset: PreferenceDataset, what: str) -> PreferenceDataset:
    """The dataset, for ``what``, which needs pairs.

    Raises:
        DatasetError: it holds prompts without answers, or rated answers that make no pair.
    """
    if dataset.rated and not dataset.pairs:
        raise DatasetError(
            f"{dataset.title} holds rated answers and {what} needs pairs: no prompt there has an answer with a thumb up and one with a "
            "thumb down. Train on them with KTO under Align."
        )
    if not dataset.pairs:
        raise DatasetError(
            f"{dataset.title} holds prompts without answers and {what} needs pairs; choose preference data, or use these "
            "prompts in a detox run."
        )
    return dataset
