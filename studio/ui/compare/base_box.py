"""Which base answers where no pane shows an adapter: what it needs, and loading it with progress."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.services import Services
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, Shared
from studio.ui.parts.base_fetch import bind_default, build_needs
from studio.ui.parts.base_needs import bind_needs
from studio.ui.parts.html import parts


def build_base_box(services: Services, shared: Shared, app: gr.Blocks) -> gr.Dropdown:
    """Draw the box; its dropdown holds the id of the base."""
    default = services.models.default_base()
    with gr.Accordion("Base model", open=False, elem_id="base-box"):
        base = gr.Dropdown(
            [default],
            value=default,
            label="Base model where no pane shows an adapter",
            info="A pane with an adapter brings the base it was trained on. Any Hub id, local folder or GGUF file may be typed.",
            allow_custom_value=True,
            elem_id="compare-base",
        )
        needs = build_needs("compare-base")
        load = gr.Button("Load it now", size="sm", elem_id="load-base")

    def choices() -> list[tuple[str, str]]:
        return [(info.title, info.id) for info in services.models.catalogue()]

    def offer() -> Any:
        return gr.Dropdown(choices=choices())

    def fetch(mark: Visitor, model: str, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008 - gradio's way
        require_operator(mark, "loading another base")
        services.compare.load(model, lambda share, text: progress(share, desc=text))
        return parts.quiet(f"{model} is loaded.")

    app.load(guarded(offer), None, base, **PRIVATE)
    bind_needs(services, shared, app, base, needs)
    bind_default(services, shared, base, choices)
    load.click(guarded(fetch), [shared.visitor, base], needs.line, **PRIVATE)
    return base
