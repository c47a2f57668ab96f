"""The page's head line, with the buttons that begin the demo and the tour. What they do is the page's script: ``steps.js`` has
the sentences and what each step waits for, ``guide.js`` the card; what was seen, each browser remembers."""

from __future__ import annotations

import gradio as gr

from studio.ui.parts.html import Macros

_HTML = Macros("guide/head.html")


def build_head() -> None:
    """Draw title, subtitle and the two buttons in one line."""
    gr.HTML(_HTML.head(), padding=False)
