"""The Reward tab's form: which preferences, which base, how. Builds a :class:`RewardForm` from its widgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.domain.runs import RewardRecipe
from studio.domain.settings import LoraSettings, RewardSettings
from studio.services import Services
from studio.services.rating.rooms import room_title
from studio.services.recipes.presets import REWARD_PRESETS
from studio.services.reward.service import RewardForm
from studio.services.votes.dataset import ALL_ROOMS, votes_of_id
from studio.ui.parts.base_fetch import BaseNeeds
from studio.ui.training.form import (
    FormFields,
    SettingWidgets,
    StartWidgets,
    build_base,
    build_preset,
    build_start,
    dataset_choices,
    size_range,
)

VOTES, DATA, BOTH = "Votes", "Dataset", "Both"


#: Pairs of a dataset that the form begins with at most.
FIRST_PAIRS = 10_000


@dataclass(frozen=True)
class RewardWidgets(FormFields):
    """The form's widgets in the order :func:`form_from` expects their values."""

    form = RewardForm
    kinds = (LoraSettings, RewardSettings)

    source: gr.Radio
    room: gr.Dropdown
    dataset: gr.Dropdown
    data_size: gr.Slider
    support_ratio: gr.Slider
    base: gr.Dropdown
    preset: gr.Dropdown
    title: gr.Textbox


def build_form(services: Services) -> tuple[RewardWidgets, BaseNeeds, StartWidgets]:
    """Draw the form; with it what stands below the base, and what starts a run, before the settings that few change."""
    datasets = dataset_choices(services)
    first = services.datasets.get(datasets[0][1])
    default = services.models.default_base()
    preset = REWARD_PRESETS[services.reward.preset_for(default)]
    source = gr.Radio([VOTES, DATA, BOTH], value=DATA, label="Learn from", elem_id="reward-source")
    room = gr.Dropdown(
        [("All rooms", ALL_ROOMS)], value=ALL_ROOMS, label="Votes of", visible=False, elem_id="reward-room"
    )
    dataset = gr.Dropdown(datasets, value=first.id, label="Preference data", elem_id="reward-dataset")
    data_size = gr.Slider(
        **size_range(len(first.pairs)),
        value=min(len(first.pairs), FIRST_PAIRS),
        step=1,
        label="Training pairs",
        elem_id="reward-data-size",
    )
    support_ratio = gr.Slider(
        0,
        1,
        value=1.0,
        step=0.05,
        label="Share kept",
        info="The rest are flipped.",
        elem_id="reward-ratio",
    )
    base, needs = build_base(
        services.reward.bases(),
        default,
        "reward-base",
        "An encoder or a causal model: type a Hub id or folder above.",
    )
    starts = build_start("Train reward model", "reward-")
    setting_widgets = SettingWidgets("reward", preset.lora, preset.settings)
    with gr.Accordion("Advanced", open=False, elem_id="reward-advanced", elem_classes="settings"):
        preset_box = build_preset(REWARD_PRESETS, preset, "reward-preset")
        title = gr.Textbox("", label="Name of the run", placeholder="made from its data", max_lines=1)
        setting_widgets.draw_rest("LoRA", [*LoraSettings.declared()])
        setting_widgets.draw_rest("Training", [*RewardSettings.declared()])
    widgets = RewardWidgets(
        source=source,
        room=room,
        dataset=dataset,
        data_size=data_size,
        support_ratio=support_ratio,
        base=base,
        preset=preset_box,
        title=title,
        settings=setting_widgets.drawn,
    )
    return widgets, needs, starts


def room_choices(services: Services) -> list[tuple[str, str]]:
    """Whose votes may be learned from."""
    return [("All rooms", ALL_ROOMS), *((room_title(room), room.code) for room in services.rooms.list())]


def form_from(*values: Any) -> RewardForm:
    """The typed form from the widgets' values, in the order of :class:`RewardWidgets`.

    Raises:
        RecipeError: a field is empty; the message names it. Ranges are the service's to check.
    """
    named, shared = RewardWidgets.named(values)
    return RewardForm(
        **shared,
        votes=named["source"] in (VOTES, BOTH),
        room=named["room"],
        dataset_id=named["dataset"] if named["source"] in (DATA, BOTH) else "",
        support_ratio=float(named["support_ratio"]),
        data_size=int(named["data_size"]),
    )


def recipe_values(services: Services, recipe: RewardRecipe) -> list[Any]:
    """Values of the whole form for a past run, its name left open.

    Raises:
        NotFoundError: its dataset is gone.
    """
    voted = votes_of_id(recipe.dataset_id)
    room, dataset_id = voted or (gr.skip(), recipe.dataset_id)
    size: Any = gr.skip()
    if dataset_id:
        dataset = services.datasets.get(dataset_id)
        pairs = len(dataset.pairs)
        used = pairs
        if not voted:  # with votes in it, how many pairs are the dataset's is not recorded
            split_here = 0 if dataset.heldout else len(services.runs.dataset(recipe.run_id).heldout)
            used = min(pairs, recipe.data_size + split_here)
        size = gr.Slider(**size_range(pairs), value=used)
    return [
        DATA if not voted else BOTH if dataset_id else VOTES,
        room,
        dataset_id or gr.skip(),
        size,
        recipe.support_ratio,
        recipe.base.id,
        recipe.preset,
        "",
        *RewardWidgets.knob_values(recipe.lora, recipe.settings),
    ]
