"""The Detox section's form: where to start, what to ask, what to reward, how to learn. What its values come to stands in
``form_values.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.domain.detox import MAX_TERMS, DetoxSettings
from studio.domain.settings import LoraSettings, TrainingSettings
from studio.services import Services
from studio.services.data.prompts import RANTS, prompt_sets
from studio.services.detox.service import AUTO, DetoxForm
from studio.services.recipes.presets import DETOX_PRESETS
from studio.ui.parts.base_fetch import BaseNeeds
from studio.ui.parts.prompt_box import build_prompt_box
from studio.ui.training.form import FormFields, SettingWidgets, build_base, build_preset, dataset_choices

#: Parts a reward can have: ``scorer1`` to ``scorer4`` of the form.
TERMS = MAX_TERMS
NONE = ("none", "")
BY_STUDIO = ("chosen by the studio: one that is not the reward", AUTO)


@dataclass(frozen=True)
class DetoxWidgets(FormFields):
    """The form's widgets in the order in which their values come back."""

    form = DetoxForm
    kinds = (LoraSettings, DetoxSettings)

    base: gr.Dropdown
    start_run: gr.Dropdown
    dataset: gr.Dropdown
    prompt_sets: gr.Dropdown
    prompt_file: gr.File
    scorer1: gr.Dropdown
    weight1: gr.Number
    scorer2: gr.Dropdown
    weight2: gr.Number
    scorer3: gr.Dropdown
    weight3: gr.Number
    scorer4: gr.Dropdown
    weight4: gr.Number
    judge: gr.Dropdown
    system_prompt: gr.Textbox
    title: gr.Textbox
    preset: gr.Dropdown

    def prompt_sources(self) -> list[Any]:
        """The widgets that decide which prompts are used."""
        return [self.dataset, self.prompt_sets, self.prompt_file]

    def terms(self) -> list[Any]:
        """Scorers and weights in turn."""
        return [getattr(self, f"{part}{at}") for at in range(1, TERMS + 1) for part in ("scorer", "weight")]

    def rewarded(self) -> list[Any]:
        """The widgets that decide who rewards and who judges."""
        return [*self.terms(), self.judge]

    def preset_sets(self) -> list[Any]:
        """What a preset sets, its own box first: the reward it was tuned with, and the settings."""
        return [self.preset, *self.terms(), *self.knobs()]

    def choices(self) -> list[gr.Dropdown]:
        """The dropdowns whose choices may change elsewhere, in the order of :func:`form_values.offer`."""
        scorers = [getattr(self, f"scorer{at}") for at in range(1, TERMS + 1)]
        return [self.base, self.start_run, self.dataset, self.prompt_sets, *scorers, self.judge]


@dataclass(frozen=True)
class FormTexts:
    """The lines beside the form: what the base needs, what a file held, which prompts are used, who rewards and judges."""

    needs: BaseNeeds
    read: gr.HTML
    prompts: gr.HTML
    rewarded: gr.HTML


def build_form(services: Services) -> tuple[DetoxWidgets, FormTexts]:
    """Draw the form; with it the lines beside it. Choices are read again on page load (see :func:`form_values.offer`)."""
    default = services.models.default_base()
    preset = DETOX_PRESETS[services.detox.preset_for(default)]
    detox = preset.settings
    datasets, offered = dataset_choices(services, prompts=True), set_choices()
    rants = preset.name == "real-small" and RANTS in {name for _, name in offered}
    terms: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            base, needs = build_base([default], default, "detox-base")
            start_run = gr.Dropdown(
                [("The base itself", "")],
                value="",
                label="Start from",
                info="The base, or an adapter of it (a DPO run, then detox). KL is measured to this start.",
                elem_id="detox-start",
            )
            dataset = gr.Dropdown(
                [NONE, *datasets],
                value="" if rants else datasets[0][1],
                label="Prompts of a dataset",
                info="Ordinary questions. Of data with two sides, the stance is measured before and after.",
                elem_id="detox-dataset",
            )
            sets = gr.Dropdown(
                offered,
                value=[RANTS] if rants else [name for _, name in offered[:1]],
                multiselect=True,
                label="Prompt sets",
                info="A third of each was made to provoke; of the rants, which are for a base polite by itself, three quarters.",
                elem_id="detox-sets",
            )
            with gr.Accordion("Prompts of a file of yours", open=False, elem_id="detox-own"):
                file, read = build_prompt_box("detox-file")
            prompts = gr.HTML(elem_id="detox-asked")
        with gr.Column(scale=7, min_width=320):
            with gr.Row():
                first = detox.rewards[0]
                terms |= _term(1, [(first.scorer, first.scorer)], first.scorer, "Reward", first.weight)
            with gr.Accordion("Add to the reward", open=False, elem_id="detox-terms"):
                gr.Markdown(
                    "The reward is the weighted sum; scorers of another scale want another weight.",
                    elem_classes="quiet",
                )
                for at in range(2, TERMS + 1):
                    with gr.Row():
                        terms |= _term(at, [NONE], "", "and")
            judge = gr.Dropdown(
                [BY_STUDIO, NONE],
                value=AUTO,
                label="Judge at the end",
                info="A scorer that is not the reward: what pleases the reward need not please it.",
                allow_custom_value=True,
                elem_id="detox-judge",
            )
            rewarded = gr.HTML(elem_id="detox-rewarded")
            preset_box = build_preset(DETOX_PRESETS, preset, "detox-preset")
            setting_widgets = SettingWidgets("detox", preset.lora, detox)
            setting_widgets.draw("beta")
            setting_widgets.draw("steps", "max_seconds")
            with gr.Accordion("Advanced", open=False, elem_id="detox-advanced"):
                title = gr.Textbox("", label="Name of the run", placeholder="made from its prompts", max_lines=1)
                system_prompt = gr.Textbox("", label="System prompt", lines=1, max_lines=4, placeholder="none")
                setting_widgets.draw("algorithm")
                training = TrainingSettings.declared()
                setting_widgets.draw_rest(
                    "Answers of a step", [name for name in DetoxSettings.declared() if name not in training]
                )
                setting_widgets.draw_rest("LoRA", [*LoraSettings.declared()])
                setting_widgets.draw_rest("Training", [*training])
    widgets = DetoxWidgets(
        base=base,
        start_run=start_run,
        dataset=dataset,
        prompt_sets=sets,
        prompt_file=file,
        judge=judge,
        system_prompt=system_prompt,
        title=title,
        preset=preset_box,
        settings=setting_widgets.drawn,
        **terms,
    )
    return widgets, FormTexts(needs, read, prompts, rewarded)


def _term(at: int, choices: list[tuple[str, str]], value: str, label: str, share: float = 1.0) -> dict[str, Any]:
    scorer = gr.Dropdown(
        choices,
        value=value,
        label=label,
        info="A scorer, a reward run, or the id of a text classifier." if at == 1 else None,
        allow_custom_value=True,
        scale=4,
        min_width=180,
        elem_id=f"detox-scorer-{at}",
    )
    info = "In the sum." if at == 1 else None  # a line as the scorer has one, so that both fields stand level
    weight = gr.Number(share, label="Weight", info=info, step=0.1, scale=1, min_width=90, elem_id=f"detox-weight-{at}")
    return {f"scorer{at}": scorer, f"weight{at}": weight}


def set_choices() -> list[tuple[str, str]]:
    return [(f"{known.title} · {len(known.prompts)} prompts", known.id) for known in prompt_sets()]
