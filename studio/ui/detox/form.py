"""The Detox section's form: where to start, what to ask, what to reward, how to learn. What its values come to stands in
``form_values.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.services import Services
from studio.services.data.prompts import prompt_sets
from studio.services.detox.service import AUTO, MAX_TERMS
from studio.services.recipes.presets import DETOX_PRESETS, DetoxPreset
from studio.ui.parts.prompt_box import build_prompt_box
from studio.ui.training.form import (
    FormFields,
    build_base,
    build_lora,
    build_optimiser,
    build_preset,
    dataset_choices,
    number,
)

#: Parts a reward can have: ``scorer1`` to ``scorer4`` of the form.
TERMS = MAX_TERMS
NONE = ("none", "")
BY_STUDIO = ("chosen by the studio: one that is not the reward", AUTO)
#: What each knob does, in the words of the field it comes from.
KNOBS = {
    "rank": "How much an update can express.",
    "alpha": "Update is scaled by alpha / rank.",
    "dropout": "Share of inputs dropped.",
    "target_modules": "Layers that get an adapter: all-linear, or names such as q_proj,v_proj.",
    "algorithm": "Advantage of an answer. RLOO: its reward less the mean of the prompt's other answers (Ahmadian et al. 2024). "
    "GRPO: less the group's mean, divided by its spread (Shao et al. 2024).",
    "beta": "Weight of the KL divergence to the start: what leaving it costs. Higher keeps wording and stance, lower detoxifies "
    "faster and may drift.",
    "reward_clip": "Cuts a toxicity scorer's reward at plus and minus this, so that cleaner than clean earns nothing; 0: never.",
    "ordinary": "Share of a step's prompts that do not provoke: what keeps ordinary answers as they are.",
    "batch_size": "Answers through the model at once; 0: all of a step. Lower saves memory.",
    "learning_rate": "Size of a step. RL's signal is noisy: too high and answers collapse.",
    "steps": "Each step samples fresh answers and updates once.",
    "max_seconds": "Ends the run by the clock; 0: after the steps.",
    "prompts_per_step": "Different prompts in a step; more make it steadier.",
    "generations": "Answers to each prompt (k); each is compared with the others, so 2 at least.",
    "temperature": "Of sampling while learning: below 1 sees less variety, so learns less.",
    "top_p": "Nucleus of sampling; 1 samples from the model as it is.",
    "max_new_tokens": "Longer answers are cut, and counted as clipped.",
    "warmup_ratio": "Share of steps with a rising rate.",
    "max_grad_norm": "Gradients longer than this are cut.",
    "scheduler": "How the rate falls.",
    "optimizer": "8 bit: CUDA only.",
    "weight_decay": "Pull of weights to 0.",
    "max_length": "Prompt and answer together, in tokens.",
    "seed": "Of prompt order and sampling.",
    "load_in_4bit": "CUDA only: the frozen base in 4 bits.",
    "sample_every": "Steps between two transcripts.",
}


@dataclass(frozen=True)
class DetoxWidgets(FormFields):
    """The form's widgets in the order in which their values come back."""

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
    rank: gr.Number
    alpha: gr.Number
    dropout: gr.Number
    target_modules: gr.Textbox
    algorithm: gr.Radio
    beta: gr.Number
    learning_rate: gr.Number
    steps: gr.Number
    max_seconds: gr.Number
    reward_clip: gr.Number
    prompts_per_step: gr.Number
    generations: gr.Number
    ordinary: gr.Number
    batch_size: gr.Number
    temperature: gr.Number
    top_p: gr.Number
    max_new_tokens: gr.Number
    warmup_ratio: gr.Number
    max_grad_norm: gr.Number
    scheduler: gr.Dropdown
    optimizer: gr.Dropdown
    weight_decay: gr.Number
    max_length: gr.Number
    seed: gr.Number
    sample_every: gr.Number
    load_in_4bit: gr.Checkbox

    def asked(self) -> list[Any]:
        """The widgets that decide what is asked."""
        return [self.dataset, self.prompt_sets, self.prompt_file]

    def terms(self) -> list[Any]:
        """Scorers and weights in turn."""
        return [getattr(self, f"{part}{at}") for at in range(1, TERMS + 1) for part in ("scorer", "weight")]

    def rewarded(self) -> list[Any]:
        """The widgets that decide who rewards and who judges."""
        return [*self.terms(), self.judge]

    def preset_sets(self) -> list[Any]:
        """What a preset sets, its own box first: the reward it was tuned with, and the knobs."""
        return [self.preset, *self.terms(), *self.knobs()]

    def choices(self) -> list[gr.Dropdown]:
        """The dropdowns whose choices may change elsewhere, in the order of :func:`detox_values.offer`."""
        scorers = [getattr(self, f"scorer{at}") for at in range(1, TERMS + 1)]
        return [self.base, self.start_run, self.dataset, self.prompt_sets, *scorers, self.judge]


@dataclass(frozen=True)
class Told:
    """What the form tells: what the base needs, what a file gave, what is asked, who rewards and judges."""

    needs: gr.HTML
    read: gr.HTML
    asked: gr.HTML
    rewarded: gr.HTML


def build_form(services: Services) -> tuple[DetoxWidgets, Told]:
    """Draw the form; with it what is told beside it. Choices are read afresh on page load (see :func:`detox_values.offer`)."""
    preset = DETOX_PRESETS["quick"]
    detox = preset.detox
    datasets, offered = dataset_choices(services, prompts=True), set_choices()
    terms: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            base, needs = build_base(["embedded"], "detox-base")
            start_run = gr.Dropdown(
                [("The base itself", "")],
                value="",
                label="Start from",
                info="The base, or an adapter of it (a DPO run, then detox). KL is measured to this start.",
                elem_id="detox-start",
            )
            dataset = gr.Dropdown(
                [NONE, *datasets],
                value=datasets[0][1],
                label="Prompts of a dataset",
                info="Ordinary questions. Of data with two sides, the stance is measured before and after.",
                elem_id="detox-dataset",
            )
            sets = gr.Dropdown(
                offered,
                value=[name for _, name in offered[:1]],
                multiselect=True,
                label="Prompt sets",
                info="A third of each was made to provoke.",
                elem_id="detox-sets",
            )
            with gr.Accordion("Prompts of a file of yours", open=False, elem_id="detox-own"):
                file, read = build_prompt_box("detox-file")
            asked = gr.HTML(elem_id="detox-asked")
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
            preset_box = build_preset(DETOX_PRESETS, preset.name, "detox-preset")
            beta = number(detox.beta, label="KL weight (beta)", step=0.01, elem_id="detox-beta")
            with gr.Row():
                steps = number(detox.steps, label="Steps", precision=0, elem_id="detox-steps")
                max_seconds = number(detox.max_seconds, label="Or seconds", elem_id="detox-seconds")
            advanced = _advanced(preset)
    widgets = DetoxWidgets(
        base=base,
        start_run=start_run,
        dataset=dataset,
        prompt_sets=sets,
        prompt_file=file,
        judge=judge,
        preset=preset_box,
        beta=beta,
        steps=steps,
        max_seconds=max_seconds,
        **terms,
        **advanced,
    )
    for name, told in KNOBS.items():
        getattr(widgets, name).info = told
    return widgets, Told(needs, read, asked, rewarded)


def _advanced(preset: DetoxPreset) -> dict[str, Any]:
    """Draw the knobs that a preset sets and few people turn; by field name."""
    detox = preset.detox
    made: dict[str, Any] = {}
    with gr.Accordion("Advanced", open=False, elem_id="detox-advanced"):
        made["title"] = gr.Textbox("", label="Name of the run", placeholder="made from its prompts", max_lines=1)
        made["system_prompt"] = gr.Textbox("", label="System prompt", lines=1, max_lines=4, placeholder="none")
        made["algorithm"] = gr.Radio([("RLOO", "rloo"), ("GRPO", "grpo")], value=detox.algorithm, label="Algorithm")
        gr.Markdown("**Answers of a step**")
        with gr.Row():
            made["prompts_per_step"] = number(
                detox.prompts_per_step, label="Prompts", precision=0, elem_id="detox-prompts"
            )
            made["generations"] = number(
                detox.generations, label="Answers a prompt", precision=0, elem_id="detox-answers"
            )
            made["max_new_tokens"] = number(
                detox.max_new_tokens, label="Longest (tokens)", precision=0, elem_id="detox-tokens"
            )
        with gr.Row():
            made["ordinary"] = number(detox.ordinary, label="Ordinary share", step=0.1)
            made["reward_clip"] = number(detox.reward_clip, label="Cut rewards at", step=0.5)
            made["batch_size"] = number(detox.batch_size, label="Batch size", precision=0, elem_id="detox-batch")
        with gr.Row():
            made["temperature"] = number(detox.temperature, label="Temperature", step=0.1)
            made["top_p"] = number(detox.top_p, label="top_p", step=0.05)
            made["sample_every"] = number(detox.sample_every, label="Transcripts every", precision=0)
        gr.Markdown("**LoRA**")
        made |= build_lora(preset.lora)
        gr.Markdown("**Optimiser**")
        with gr.Row():
            made["learning_rate"] = number(detox.learning_rate, label="Learning rate", step=1e-5)
            made["warmup_ratio"] = number(detox.warmup_ratio, label="Warm-up", step=0.05)
            made["max_grad_norm"] = number(detox.max_grad_norm, label="Gradient clip", step=0.1)
        made |= build_optimiser(detox)
        with gr.Row():
            made["max_length"] = number(detox.max_length, label="Max length", precision=0)
            made["seed"] = number(detox.seed, label="Seed", precision=0)
            made["load_in_4bit"] = gr.Checkbox(detox.load_in_4bit, label="4-bit base", min_width=104)
    return made


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
    told = "In the sum." if at == 1 else None  # a line as the scorer has one, so that both fields stand level
    weight = gr.Number(share, label="Weight", info=told, step=0.1, scale=1, min_width=90, elem_id=f"detox-weight-{at}")
    return {f"scorer{at}": scorer, f"weight{at}": weight}


def set_choices() -> list[tuple[str, str]]:
    return [(f"{found.title} · {len(found.prompts)} prompts", found.id) for found in prompt_sets()]
