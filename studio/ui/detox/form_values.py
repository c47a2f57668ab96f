"""What the Detox form's values come to: choices as they are now, the typed form and back."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from studio.domain.detox import DetoxSettings, RewardTerm
from studio.services import Services
from studio.services.data.prompts import as_jsonl
from studio.services.detox.service import DetoxForm
from studio.services.recipes.presets import DETOX_PRESETS
from studio.ui.detox.form import BY_STUDIO, NONE, TERMS, DetoxWidgets, set_choices
from studio.ui.parts.downloads import served
from studio.ui.parts.prompt_box import uploaded
from studio.ui.training.form import dataset_choices


def offer(
    services: Services,
    base: str | None,
    start: str | None,
    dataset: str | None,
    sets: list[str] | None,
    *scorers: str | None,
) -> list[Any]:
    """What there is to choose now, in the order of :meth:`DetoxWidgets.choices`; what was chosen stays while it is there."""
    known = list(services.scoring.choices())
    # the reward's first scorer cannot be none
    lists = [known, *[[NONE, *known]] * (TERMS - 1), [BY_STUDIO, NONE, *known]]
    return [
        gr.Dropdown(choices=[(m.title, m.id) for m in services.models.catalogue()], value=base),
        offer_starts(services, base, start),
        _kept([NONE, *dataset_choices(services, prompts=True)], dataset),
        gr.Dropdown(choices=set_choices(), value=sets),
        *(gr.Dropdown(choices=choices, value=value) for choices, value in zip(lists, scorers, strict=True)),
    ]


def offer_starts(services: Services, base: str | None, start: str | None) -> Any:
    """What a run on this base can start from."""
    return _kept(services.detox.starts(base or ""), start)


def _kept(choices: list[tuple[str, str]], value: str | None) -> Any:
    there = [name for _, name in choices]
    return gr.Dropdown(choices=choices, value=value if value in there else next(iter(there), None))


def form_from(*values: Any) -> DetoxForm:
    """The typed form from the widgets' values, in the order of :class:`DetoxWidgets`.

    Raises:
        RecipeError: a field is empty; the message names it. Ranges are the service's to check.
    """
    scorers = [f"scorer{at}" for at in range(1, TERMS + 1)]
    texts = ("start_run", "dataset", "prompt_sets", "prompt_file", "judge", *scorers)
    named, shared = DetoxWidgets.named(values, optional=texts)
    file_name, own = uploaded(named["prompt_file"])
    terms = [RewardTerm(named[name], float(named[f"weight{at}"])) for at, name in enumerate(scorers, 1) if named[name]]
    shared["settings"] = replace(shared["settings"], rewards=tuple(terms))
    return DetoxForm(
        **shared,
        dataset_id=named["dataset"],
        prompt_sets=tuple(named["prompt_sets"]),
        start_run=named["start_run"],
        judge=named["judge"],
        prompt_file=file_name,
        own_prompts=own,
    )


def preset_values(name: str) -> list[Any]:
    """For a preset: its box with what it is for, and the other values of :meth:`DetoxWidgets.preset_sets`."""
    box, *knobs = DetoxWidgets.preset_values(name)
    return [box, *_term_values(DETOX_PRESETS[name].settings), *knobs]


def _term_values(detox: DetoxSettings) -> list[Any]:
    """Scorers and weights in turn, none where the reward has fewer parts."""
    terms: list[Any] = []
    for at in range(TERMS):
        term = detox.rewards[at] if at < len(detox.rewards) else RewardTerm("", 1.0)
        terms += [term.scorer, term.weight]
    return terms


def form_values(form: DetoxForm) -> list[Any]:
    """Values of all widgets for a form, such as a past run's."""
    return [
        form.base,
        form.start_run,
        form.dataset_id,
        list(form.prompt_sets),
        _file_of(form),
        *_term_values(form.settings),
        form.judge,
        form.system_prompt,
        form.title,
        form.preset,
        *DetoxWidgets.knob_values(form.lora, form.settings),
    ]


def _file_of(form: DetoxForm) -> str | None:
    """The form's own prompts as a file of Gradio's cache, which the page may show; None where there are none."""
    if not form.own_prompts:
        return None
    name = re.sub(r"[^A-Za-z0-9_-]", "_", Path(form.prompt_file).stem)[:80]
    return served(as_jsonl(form.own_prompts).encode(), f"{name}.jsonl")
