"""The Align tab's form: what will be trained, on what, and how. Builds an :class:`AlignForm` from its widgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr

from studio.domain.data import PreferenceRow, RatedAnswer
from studio.domain.settings import AnswerSettings, DpoSettings, LoraSettings, PairSettings, ThumbWeights
from studio.errors import StudioError
from studio.i18n import said
from studio.services import Services
from studio.services.align.form import AlignForm
from studio.services.data.annotated.rated import count_thumbs
from studio.services.recipes.presets import PRESETS
from studio.services.wording import counted
from studio.ui.page.access import OPERATORS_ROWS, may_read_data
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

#: Rows of the preview sent to the page at most, at every turn of the dial.
PREVIEW_ROWS = 1000
#: Settings of pairs and their loss, which say nothing of rated answers; and those of rated answers alone.
DPO_ONLY = [name for name in DpoSettings.declared() if name not in AnswerSettings.declared()]
R = TypeVar("R", PreferenceRow, RatedAnswer)
KTO_ONLY = [*ThumbWeights.declared()]
PREVIEW_HEADERS = ["#", "Prompt", "Preferred", "Not preferred", "Side"]


@dataclass(frozen=True)
class FormWidgets(FormFields):
    """The form's widgets in the order :func:`form_from` expects their values."""

    form = AlignForm
    kinds = (LoraSettings, DpoSettings)

    base: gr.Dropdown
    dataset: gr.Dropdown
    support_ratio: gr.Slider
    data_size: gr.Slider
    shuffle: gr.Checkbox
    system_prompt: gr.Textbox
    title: gr.Textbox
    preset: gr.Dropdown
    start_run: gr.Dropdown
    desirable_weight: gr.Number
    undesirable_weight: gr.Number

    def by_kind(self) -> tuple[list[Any], list[Any]]:
        """The widgets that are for pairs alone, and those that are for rated answers alone."""
        pairs = [self.support_ratio, self.shuffle, *(self.settings[name] for name in DPO_ONLY)]
        return pairs, [getattr(self, name) for name in KTO_ONLY]


def build_form(services: Services) -> tuple[FormWidgets, BaseNeeds, StartWidgets, gr.Accordion]:
    """Draw the form; what stands below the base; what starts a run; and the box of the settings that few change. Choices are read afresh
    on page load by the tab (see :func:`choices`)."""
    datasets, bases = choices(services)
    first = services.datasets.get(datasets[0][1])
    size = len(first.pairs)
    default, name, prompt = services.align.suited("", "", first.id)
    preset = PRESETS[name]
    base, needs = build_base(bases, default, "base")
    dataset = gr.Dropdown(datasets, value=first.id, label="Preference data", elem_id="dataset")
    support_ratio = gr.Slider(
        0,
        1,
        value=0.9,
        step=0.05,
        label="support_ratio",
        info="Stance: 0 against, 1 for.",
        buttons=[],
        elem_id="support-ratio",
    )
    data_size = gr.Slider(
        **size_range(size),
        value=min(50, size),
        step=1,
        label="data_size",
        info="Training pairs.",
        buttons=[],
        elem_id="data-size",
    )
    starts = build_start("Train")
    setting_widgets = SettingWidgets("align", preset.lora, preset.settings, ThumbWeights())
    with gr.Accordion("Advanced", open=False, elem_id="advanced", elem_classes="settings") as advanced:
        preset_box = build_preset(PRESETS, preset, "preset")
        with gr.Row():
            title = gr.Textbox("", label="Name of the run", placeholder="made from data and ratio", max_lines=1)
            shuffle = gr.Checkbox(
                False, label="Shuffle which rows support", info="Off: the first rows, as in the course."
            )
        start_run = gr.Dropdown(
            [("The base itself", "")],
            value="",
            label="Start from",
            info="An adapter of this base to go on from. It becomes the reference, and part of what is saved.",
            visible=False,
            elem_id="align-start",
        )
        system_prompt = gr.Textbox(prompt, label="System prompt", lines=1, max_lines=4, placeholder="none")
        setting_widgets.draw_rest("LoRA", [*LoraSettings.declared()])
        setting_widgets.draw_rest(
            "Loss", [name for name in DpoSettings.declared() if name not in PairSettings.declared()]
        )
        setting_widgets.draw(*KTO_ONLY, visible=False)
        setting_widgets.draw_rest("Training", [*PairSettings.declared()])
    widgets = FormWidgets(
        base=base,
        dataset=dataset,
        support_ratio=support_ratio,
        data_size=data_size,
        shuffle=shuffle,
        system_prompt=system_prompt,
        title=title,
        preset=preset_box,
        start_run=start_run,
        desirable_weight=setting_widgets.drawn["desirable_weight"],
        undesirable_weight=setting_widgets.drawn["undesirable_weight"],
        settings=setting_widgets.drawn,
    )
    return widgets, needs, starts, advanced


def choices(services: Services) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(label, value) of the datasets and of the base models that DPO is for, as they are now."""
    return dataset_choices(services, rated=True), [
        (m.title, m.id) for m in services.models.catalogue() if not m.seq2seq
    ]


def form_from(*values: Any) -> AlignForm:
    """The typed form from the widgets' values, in the order of :class:`FormWidgets`.

    Raises:
        RecipeError: a field is empty; the message names it. Ranges are the align service's to check.
    """
    named, shared = FormWidgets.named(values, ["start_run"])
    return AlignForm(
        **shared,
        dataset_id=named["dataset"],
        support_ratio=float(named["support_ratio"]),
        data_size=int(named["data_size"]),
        shuffle=bool(named["shuffle"]),
        start_run=named["start_run"],
        thumbs=ThumbWeights(**{name: named[name] for name in KTO_ONLY}),
    )


def preview_rows(services: Services, form: AlignForm) -> tuple[list[list[Any]], str]:
    """The table of exactly what will be trained on, and a sentence that counts it (or says what is wrong)."""
    try:
        rated = services.align.preview_rated(form)
        rows = None if rated else services.align.preview(form)
    except StudioError as error:
        return [], f"⚠️ {said(str(error))}"
    dataset = services.datasets.get(form.dataset_id)
    if rows is None:
        return _told(services, form, f"**{count_thumbs(rated)}**.", rated, _thumb_row)
    labels = dataset.kind == "labels"
    supporting = sum(rows.supports)
    pairs, flipped = counted(len(rows), "pair"), len(rows) - supporting
    sentence = (
        f"**{pairs}**: {supporting} kept as labelled, {flipped} flipped."
        if labels
        else f"**{pairs}**: {supporting} prefer *support*, {flipped} prefer *oppose*."
    )
    return _told(services, form, sentence, rows, lambda number, row: _preview_row(number, row, labels))


def _told(
    services: Services, form: AlignForm, sentence: str, rows: Sequence[R], line: Callable[[int, R], list[Any]]
) -> tuple[list[list[Any]], str]:
    """The table as far as it is shown, a ``line`` for each row, and ``sentence`` with what else is to be known."""
    if not may_read_data(services, form.dataset_id):
        return [], f"{sentence} {OPERATORS_ROWS}"
    places: Sequence[int] = range(len(rows))
    half: int = PREVIEW_ROWS // 2
    if len(rows) > PREVIEW_ROWS:
        places = [*range(half), *range(len(rows) - half, len(rows))]
        sentence += f" The first and last {half} are shown."
    if notes := services.datasets.get(form.dataset_id).notes:
        sentence += f" Of the data: {' '.join(notes)}"
    return [line(place + 1, rows[place]) for place in places], sentence


def _thumb_row(number: int, row: RatedAnswer) -> list[Any]:
    return [number, row.prompt, *((row.completion, "", "up") if row.liked else ("", row.completion, "down"))]


def _preview_row(number: int, row: PreferenceRow, labels: bool) -> list[Any]:
    side = ("as labelled" if not row.flipped else "⇄ flipped") if labels else ("⇄ oppose" if row.flipped else "support")
    return [number, row.prompt, row.chosen, row.rejected, said(side)]
