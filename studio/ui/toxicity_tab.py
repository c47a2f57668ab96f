"""The Toxicity tab: score text, compare answers before and after, train toxicity away. Each section is built by its own module."""

from __future__ import annotations

import gradio as gr

from studio.services import Services
from studio.ui.shared import Shared
from studio.ui.toxicity_score import build_score_section


def build_toxicity_tab(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the tab and its sections."""
    with gr.Tabs(elem_id="toxicity-sections"), gr.Tab("Score text", id="toxicity-score"):
        build_score_section(services, shared, app)
