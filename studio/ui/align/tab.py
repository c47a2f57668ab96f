"""The Align tab: set the dial, see exactly what will be trained on, train, watch, read the result, keep a history.

The page never owns a run: buttons write to the run folder through the services, a timer reads it back, and page load
re-attaches to whatever is running. Closing or refreshing the page changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.services import Services
from studio.services.models.service import Progress
from studio.services.recipes.presets import PRESETS
from studio.ui.align.delete_box import build_delete_box
from studio.ui.align.form import PREVIEW_HEADERS, FormWidgets, build_form, choices, form_from, preview_rows
from studio.ui.align.import_box import build_import_box
from studio.ui.align.lessons_box import build_lessons_box
from studio.ui.align.pairs_box import build_pairs_box
from studio.ui.align.panel import AlignPanel
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.parts.base_fetch import bind_default
from studio.ui.parts.base_needs import bind_needs
from studio.ui.sweeps.section import build_sweep_section
from studio.ui.training.form import bind_outlook, bind_reset, bind_start, offer_starts, size_range
from studio.ui.training.long_rows import bind_long_rows

#: What the right column shows: the data while it is being chosen, the run once it is started.
_OPEN = "() => ({__type__: 'update', open: true})"
_CLOSE = "() => ({__type__: 'update', open: false})"


def build_align_tab(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the tab and bind its events."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            form, needs, starts, advanced = build_form(services)
            bind_lessons = build_lessons_box(services, form)
            build_import_box(services, shared, form.dataset)
            build_pairs_box(services, shared, app, form.dataset, form.data_size)
            build_delete_box(services, shared, app, form.dataset)
        with gr.Column(scale=7, min_width=320):
            count = gr.Markdown(elem_id="preview-count")
            long_rows = gr.Markdown(elem_id="rows-that-fit", elem_classes="quiet")
            with gr.Accordion("Training data", open=False, elem_id="data-box") as data_box:
                preview = gr.Dataframe(
                    headers=PREVIEW_HEADERS,
                    datatype=["number", "str", "str", "str", "str"],
                    interactive=False,
                    wrap=True,
                    max_height=420,
                    column_widths=["44px", "148px", "186px", "186px", "98px"],
                    show_label=False,
                    show_row_numbers=False,
                    elem_id="preview",
                )
            panel = AlignPanel(services, data_box)
    build_sweep_section(services, shared, app, form.all(), form_from)
    panel.draw_history()

    def start(values: Sequence[Any], progress: Progress) -> str:
        return services.align.start(form_from(*values), progress)

    def dataset_changed(dataset_id: str, size: float | None) -> list[Any]:
        data = services.datasets.get(dataset_id)
        rated = bool(data.rated)
        n = len(data.rated or data.pairs)
        info = (
            "Stance: 0 against, 1 for."
            if data.kind == "sides"
            else "Share of the pairs kept as labelled; the rest are flipped."
        )
        rows = "Rated answers." if rated else "Training pairs."
        return [
            gr.Slider(**size_range(n), value=min(int(size or n), n), info=rows),
            gr.Slider(info=info, visible=not rated),
            *(gr.update(visible=not rated) for _ in for_pairs[1:]),
            *(gr.update(visible=rated) for _ in for_rated),
        ]

    def preview_table(*values: Any) -> tuple[list[list[Any]], str]:
        return preview_rows(services, form_from(*values))

    def refresh_choices() -> tuple[Any, Any]:
        datasets, bases = choices(services)
        return gr.Dropdown(choices=datasets), gr.Dropdown(choices=bases)

    def offer(base: str | None, chosen: str | None) -> gr.Dropdown:
        return offer_starts(services.align.starts(base or ""), chosen)

    def suit_preset(name: str, dataset_id: str) -> list[Any]:
        """A preset's values, and its system prompt in the language of the data."""
        return [*FormWidgets.preset_values(name), services.align.suited("", name, dataset_id)[2]]

    def suit_base(base: str | None, dataset_id: str) -> list[Any]:
        """The preset made for a base, with its values."""
        try:
            return suit_preset(services.models.info(base or "").preset, dataset_id)
        except StudioError:  # what is wrong stands below the base
            return [gr.skip()] * (2 + len(form.knobs()))

    def suit_language(dataset_id: str, name: str, system_prompt: str) -> Any:
        """The preset's system prompt in the language of the data, where it was not written over."""
        own = system_prompt in ("", *PRESETS[name].system_prompts.values())
        return services.align.suited("", name, dataset_id)[2] if own else gr.skip()

    rows = [preview, count]
    for_pairs, for_rated = form.by_kind()
    app.load(guarded(refresh_choices), None, [form.dataset, form.base], **QUIET)
    app.load(guarded(preview_table), form.all(), rows, **QUIET)
    bind_needs(services, shared, app, form.base, needs)
    gr.on([advanced.expand, form.base.change], guarded(offer), [form.base, form.start_run], form.start_run, **QUIET)
    suited = [form.preset, *form.knobs(), form.system_prompt]
    form.base.input(guarded(suit_base), [form.base, form.dataset], suited, **QUIET)
    form.preset.input(guarded(suit_preset), [form.preset, form.dataset], suited, **QUIET)
    asked = [form.dataset, form.preset, form.system_prompt]
    form.dataset.input(guarded(suit_language), asked, form.system_prompt, **QUIET)
    first = choices(services)[0][0][1]
    bind_default(services, shared, form.base, lambda: choices(services)[1], lambda base: suit_base(base, first), suited)
    form.dataset.change(
        guarded(dataset_changed), [form.dataset, form.data_size], [form.data_size, *for_pairs, *for_rated], **QUIET
    ).then(guarded(preview_table), form.all(), rows, **QUIET)
    gr.on(
        [
            form.support_ratio.change,
            form.data_size.change,
            form.shuffle.change,
            form.settings["stance_prefix"].change,
            form.settings["flip_share"].change,
            form.settings["seed"].change,
        ],
        guarded(preview_table),
        form.all(),
        rows,
        trigger_mode="always_last",
        **QUIET,
    )
    bind_outlook(starts.length, shared, app, form.all(), lambda *values: services.align.outlook(form_from(*values)))
    lengths = [form.settings[name] for name in ("max_length", "long_rows", "stance_prefix")]
    bind_long_rows(
        long_rows,
        lambda *values: services.align.fit(form_from(*values)),
        form.all(),
        [form.dataset, form.base, form.data_size, form.system_prompt, *lengths],
    )
    bind_reset(starts.reset, services, form, form.base, suited, lambda base: suit_base(base, first))
    panel.bind(shared, app, form.all(), shared.align_run)
    bind_lessons(panel)
    bind_start(starts.train, panel, shared, form.all(), start).failure(None, None, data_box, js=_OPEN, **PRIVATE)
    starts.train.click(None, None, data_box, js=_CLOSE, **PRIVATE)
    gr.on(
        [form.support_ratio.input, form.data_size.input, form.dataset.input], None, None, data_box, js=_OPEN, **PRIVATE
    )
