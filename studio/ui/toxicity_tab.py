"""The Toxicity tab: score text, compare answers before and after, train toxicity away. Each section is built by its own module."""

from __future__ import annotations

import gradio as gr

from studio.services import Services
from studio.ui.evaluation_keep import build_keep_box
from studio.ui.shared import Shared
from studio.ui.toxicity_compare import build_compare_section
from studio.ui.toxicity_score import build_score_section


def build_toxicity_tab(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the tab and its sections."""
    with gr.Tabs(elem_id="toxicity-sections"):
        with gr.Tab("Score text", id="toxicity-score"):
            build_score_section(services, shared, app)
        with gr.Tab("Before / after", id="toxicity-compare"):
            build_keep_box(services, shared, app, build_compare_section(services, shared, app))
