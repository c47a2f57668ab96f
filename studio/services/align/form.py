"""The form of a DPO run, and what of it counts for a KTO run, on answers with a thumb."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from studio.domain.data import PreferenceDataset, RatedAnswer
from studio.domain.settings import AnswerSettings, DpoSettings, KtoSettings, ThumbWeights
from studio.services.data.annotated.rated import chosen_rows
from studio.services.recipes.form import TrainingForm
from studio.services.recipes.presets import PRESETS


@dataclass(frozen=True, kw_only=True)
class AlignForm(TrainingForm[DpoSettings]):
    """What a person chose for a DPO run, unchecked; ``start_run``: the run whose adapter to go on from, empty: from the base. On data of
    rated answers it is a KTO run: ``thumbs`` are its weights, and the dial and what only DPO has count for nothing."""

    presets = PRESETS

    support_ratio: float
    data_size: int
    shuffle: bool = False
    start_run: str = ""
    thumbs: ThumbWeights = field(default_factory=ThumbWeights)


@dataclass(frozen=True, kw_only=True)
class KtoForm(TrainingForm[KtoSettings]):
    """What a person chose for a KTO run, unchecked."""

    presets = PRESETS  # their settings that DPO and KTO share

    data_size: int
    start_run: str = ""


def kto_form(form: AlignForm) -> KtoForm:
    """A DPO form as one of KTO: what both have, and the weights of the thumbs. The dial and the settings that only DPO has are left."""
    shared = {name: getattr(form.settings, name) for name in AnswerSettings.declared()}
    return KtoForm(
        base=form.base,
        dataset_id=form.dataset_id,
        system_prompt=form.system_prompt,
        preset=form.preset,
        lora=form.lora,
        settings=KtoSettings(**shared, **asdict(form.thumbs)),
        title=form.title,
        data_size=form.data_size,
        start_run=form.start_run,
    )


def kto_rows(form: KtoForm, dataset: PreferenceDataset) -> tuple[RatedAnswer, ...]:
    """The answers that a run of this form trains on, in their order.

    Raises:
        RecipeError: the size does not fit the data.
    """
    return chosen_rows(dataset.rated, form.data_size, form.settings.seed)
