"""The Detox section: choose what to ask and what to reward, train, watch, read the result, keep a history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.services import Services
from studio.services.models.service import Progress
from studio.ui.detox.form import build_form
from studio.ui.detox.form_values import form_from, offer, offer_starts, preset_values
from studio.ui.detox.panel import DetoxPanel
from studio.ui.detox.preview import prompts_html, scorers_html
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET, Shared
from studio.ui.parts.base_fetch import bind_default
from studio.ui.parts.base_needs import bind_needs
from studio.ui.parts.html import parts
from studio.ui.parts.prompt_box import read_line
from studio.ui.training.form import bind_outlook, bind_reset, bind_start, build_outlook, build_reset

ABOUT = (
    "The model answers each prompt several times. Better answers are reinforced; drift is penalised (KL). A reward is only what it "
    "measures: read the answers, and judge by a scorer that was not the reward."
)


def build_detox_section(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the section and bind its events."""
    gr.Markdown(ABOUT, elem_classes="quiet")
    form, notes = build_form(services)
    length = build_outlook("detox-outlook")
    with gr.Row(equal_height=True):
        train = gr.Button("Start detox run", variant="primary", size="lg", scale=3, elem_id="detox-train")
        reset = build_reset("detox-reset")
    panel = DetoxPanel(services)

    def start(values: Sequence[Any], progress: Progress) -> str:
        return services.detox.start(form_from(*values), progress).run_id

    def suit_base(base: str | None) -> list[Any]:
        """The adapters of a base to start from, the preset made for it, with its values."""
        starts = offer_starts(services, base, None)
        try:
            return [starts, *preset_values(services.detox.preset_for(base or ""))]
        except StudioError:  # what is wrong stands below the base
            return [starts, *[gr.skip()] * len(form.preset_sets())]

    def refresh(requested: str | None, base: str | None, start_run: str | None, *chosen: Any) -> list[Any]:
        """Choices as they are now; what another tab asked to start from is chosen."""
        if requested:
            base, start_run = services.runs.get(requested).recipe.base.id, requested
        offered = offer(services, base, start_run, *chosen)
        # the base stays as it is: another event may change it meanwhile
        return offered if requested else [gr.Dropdown(choices=offered[0].choices), *offered[1:]]

    def start_from(requested: str | None, *chosen: Any) -> dict[Any, Any]:
        """An adapter that another tab asked to start from, with the preset that suits its base."""
        if not requested:
            return {shared.detox_start: gr.skip()}
        suited = suit_base(services.runs.get(requested).recipe.base.id)[1:]
        offered = zip(form.choices(), refresh(requested, *chosen), strict=True)
        return {**dict(offered), **dict(zip(form.preset_sets(), suited, strict=True)), shared.detox_start: None}

    def tell(*values: Any) -> tuple[str, str]:
        """The prompts and the scorers, or what is wrong with the form."""
        try:
            typed = form_from(*values)
        except StudioError as error:
            return parts.message(str(error)), ""
        return prompts_html(services, typed), scorers_html(services, typed)

    form.prompt_file.change(guarded(read_line), form.prompt_file, notes.read, **QUIET)
    lines = [notes.prompts, notes.rewarded]
    looked = [shared.detox_start, *form.choices()]
    app.load(guarded(refresh), looked, form.choices(), **QUIET)
    # where the choices have changed meanwhile, their own change tells anew
    app.load(guarded(tell), form.all(), lines, **QUIET)
    shared.toxicity_visit.change(guarded(refresh), looked, form.choices(), **QUIET)
    bind_needs(services, shared, app, form.base, notes.needs)
    form.base.input(guarded(suit_base), form.base, [form.start_run, *form.preset_sets()], **QUIET)
    bind_default(
        services,
        shared,
        form.base,
        lambda: [(info.title, info.id) for info in services.models.catalogue()],
        suit_base,
        [form.start_run, *form.preset_sets()],
    )
    form.preset.input(guarded(preset_values), form.preset, form.preset_sets(), **QUIET)
    gr.on(
        [widget.change for widget in (*form.prompt_sources(), *form.rewarded())],
        guarded(tell),
        form.all(),
        lines,
        trigger_mode="always_last",
        **QUIET,
    )
    shared.detox_start.change(
        guarded(start_from),
        looked,
        [*dict.fromkeys([*form.choices(), *form.preset_sets()]), shared.detox_start],
        **QUIET,
    )
    bind_outlook(length, shared, app, form.all(), lambda *values: services.detox.outlook(form_from(*values)))
    suited = [form.start_run, *form.preset_sets()]
    bind_reset(reset, services, form, form.base, suited, suit_base).success(
        guarded(lambda base: offer_starts(services, base, "")), form.base, form.start_run, **QUIET
    )
    panel.bind(shared, app, form.all(), shared.detox_run)
    bind_start(train, panel, shared, form.all(), start)
