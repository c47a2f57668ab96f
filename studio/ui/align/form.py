"""The Align tab's form: what will be trained, on what, and how. Builds an :class:`AlignForm` from its widgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.domain.data import PreferenceRow
from studio.domain.runs import DpoSettings, LoraSettings
from studio.errors import StudioError
from studio.services import Services
from studio.services.align.service import AlignForm
from studio.services.recipes.presets import PRESETS
from studio.ui.training.form import (
    FormFields,
    build_base,
    build_lora,
    build_optimiser,
    build_pace,
    build_preset,
    dataset_choices,
    number,
    pick,
    settings_from,
    size_range,
)

LOSSES = ["sigmoid", "ipo", "hinge", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "apo_zero"]
#: Rows of the preview sent to the page at most, at every turn of the dial.
PREVIEW_ROWS = 1000
PREVIEW_HEADERS = ["#", "Prompt", "Preferred", "Not preferred", "Side"]


@dataclass(frozen=True)
class FormWidgets(FormFields):
    """The form's widgets in the order :func:`form_from` expects their values."""

    base: gr.Dropdown
    dataset: gr.Dropdown
    support_ratio: gr.Slider
    data_size: gr.Slider
    shuffle: gr.Checkbox
    system_prompt: gr.Textbox
    title: gr.Textbox
    preset: gr.Dropdown
    rank: gr.Number
    alpha: gr.Number
    dropout: gr.Number
    target_modules: gr.Textbox
    side_first: gr.Checkbox
    loss_type: gr.Dropdown
    beta: gr.Number
    label_smoothing: gr.Number
    replay_weight: gr.Number
    learning_rate: gr.Number
    epochs: gr.Number
    max_seconds: gr.Number
    batch_size: gr.Number
    gradient_accumulation: gr.Number
    warmup_ratio: gr.Number
    scheduler: gr.Dropdown
    optimizer: gr.Dropdown
    weight_decay: gr.Number
    max_grad_norm: gr.Number
    max_length: gr.Number
    seed: gr.Number
    load_in_4bit: gr.Checkbox
    probe_every: gr.Number
    sample_every: gr.Number


def build_form(services: Services) -> tuple[FormWidgets, gr.HTML]:
    """Draw the form; and the line below the base that says what it needs. Choices are read afresh on page load by the tab (see :func:`choices`)."""
    datasets, bases = choices(services)
    first = services.datasets.get(datasets[0][1])
    size = len(first.pairs)
    preset = PRESETS["embedded"]
    base, needs = build_base(bases, "base")
    dataset = gr.Dropdown(datasets, value=first.id, label="Preference data", elem_id="dataset")
    support_ratio = gr.Slider(
        0,
        1,
        value=0.9,
        step=0.05,
        label="support_ratio",
        info="Share of the pairs in which the supporting answer is the preferred one.",
        elem_id="support-ratio",
    )
    data_size = gr.Slider(
        **size_range(size),
        value=min(50, size),
        step=1,
        label="data_size",
        info="Pairs to train on.",
        elem_id="data-size",
    )
    preset_box = build_preset(PRESETS, preset.name, "preset")
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        with gr.Row():
            title = gr.Textbox("", label="Name of the run", placeholder="made from data and ratio", max_lines=1)
            shuffle = gr.Checkbox(
                False, label="Shuffle which rows support", info="Off: the first rows, as in the course."
            )
            side_first = gr.Checkbox(
                preset.dpo.side_first,
                label="Answers open with their side",
                info="Two-sided data, English or Chinese: a tiny base turns one early word best.",
            )
        system_prompt = gr.Textbox("", label="System prompt", lines=1, max_lines=4, placeholder="none")
        gr.Markdown("**LoRA**")
        lora = build_lora(preset.lora)
        gr.Markdown("**DPO**")
        with gr.Row():
            loss_type = pick(LOSSES, value=preset.dpo.loss_type, label="Loss")
            beta = number(preset.dpo.beta, label="Beta", step=0.05, info="How dearly leaving the base is paid for.")
            label_smoothing = number(
                preset.dpo.label_smoothing,
                label="Label smoothing",
                step=0.05,
                info="robust: assumed flip rate",
            )
            replay_weight = number(
                preset.dpo.replay_weight,
                label="Replay",
                step=0.1,
                info="Weight of the base's own answers; keeps a tiny model's sentences whole.",
            )
        pace, optimiser = build_pace(preset.dpo), build_optimiser(preset.dpo)
        with gr.Row():
            max_grad_norm = number(preset.dpo.max_grad_norm, label="Gradient clip", step=0.1)
            max_length = number(preset.dpo.max_length, label="Max length (tokens)", precision=0)
            seed = number(preset.dpo.seed, label="Seed", precision=0)
        with gr.Row():
            probe_every = number(preset.dpo.probe_every, label="Probe every (steps)", precision=0)
            sample_every = number(preset.dpo.sample_every, label="Answers every (steps)", precision=0)
            load_in_4bit = gr.Checkbox(preset.dpo.load_in_4bit, label="4-bit base (CUDA only)")
    widgets = FormWidgets(
        base=base,
        dataset=dataset,
        support_ratio=support_ratio,
        data_size=data_size,
        shuffle=shuffle,
        side_first=side_first,
        system_prompt=system_prompt,
        title=title,
        preset=preset_box,
        loss_type=loss_type,
        beta=beta,
        label_smoothing=label_smoothing,
        replay_weight=replay_weight,
        max_grad_norm=max_grad_norm,
        max_length=max_length,
        seed=seed,
        load_in_4bit=load_in_4bit,
        probe_every=probe_every,
        sample_every=sample_every,
        **lora,
        **pace,
        **optimiser,
    )
    return widgets, needs


def choices(services: Services) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(label, value) of the datasets and of the base models that DPO is for, as they are now."""
    return dataset_choices(services), [(m.title, m.id) for m in services.models.catalogue() if not m.seq2seq]


def form_from(*values: Any) -> AlignForm:
    """The typed form from the widgets' values, in the order of :class:`FormWidgets`.

    Raises:
        RecipeError: a field is empty; the message names it. Ranges are the align service's to check.
    """
    named = FormWidgets.named(values, optional=("system_prompt", "title"))
    return AlignForm(
        base=str(named["base"]).strip(),
        dataset_id=named["dataset"],
        support_ratio=float(named["support_ratio"]),
        data_size=int(named["data_size"]),
        shuffle=bool(named["shuffle"]),
        system_prompt=str(named["system_prompt"]),
        preset=named["preset"],
        lora=settings_from(LoraSettings, named),
        dpo=settings_from(DpoSettings, named),
        title=str(named["title"]).strip(),
    )


def preset_values(name: str) -> list[Any]:
    """For a preset: its box with what it is for, and the values of :meth:`FormWidgets.knobs`."""
    preset = PRESETS[name]
    return [gr.Dropdown(value=name, info=preset.note), *recipe_knobs(preset.lora, preset.dpo)]


def recipe_knobs(lora: LoraSettings, dpo: DpoSettings) -> list[Any]:
    """Values of :meth:`FormWidgets.knobs` for given settings (a preset's, or a past run's)."""
    return FormWidgets.knob_values(lora, dpo)


def preview_rows(services: Services, form: AlignForm) -> tuple[list[list[Any]], str]:
    """The table of exactly what will be trained on, and a sentence that counts it (or says what is wrong)."""
    try:
        rows = services.align.preview(form)
    except StudioError as error:
        return [], f"⚠️ {error}"
    labels = services.datasets.get(form.dataset_id).kind == "labels"
    supporting = sum(not row.flipped for row in rows)
    words = ("kept as labelled", "flipped") if labels else ("prefer *support*", "prefer *oppose* (marked ⇄)")
    sentence = f"**{len(rows)} {'pair' if len(rows) == 1 else 'pairs'}**: {supporting} {words[0]}, {len(rows) - supporting} {words[1]}."
    shown = list(enumerate(rows, 1))
    if len(shown) > PREVIEW_ROWS:
        half = PREVIEW_ROWS // 2
        shown = [*shown[:half], *shown[-half:]]
        sentence += f" The first and last {half} are shown."
    return [_preview_row(i, row, labels) for i, row in shown], sentence


def _preview_row(number: int, row: PreferenceRow, labels: bool) -> list[Any]:
    side = ("as labelled" if not row.flipped else "⇄ flipped") if labels else ("⇄ oppose" if row.flipped else "support")
    return [number, row.prompt, row.chosen, row.rejected, side]
