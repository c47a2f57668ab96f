"""The page's head line, with the buttons that begin the demo and the tour, and the switches of theme and language. What they do is the
page's script: ``steps.js`` has the sentences and what each step waits for, ``guide.js`` the card, ``page/theme.js`` light and dark; what was
seen and chosen, each browser remembers."""

from __future__ import annotations

import gradio as gr

from studio.i18n import LANGUAGES
from studio.ui.parts.html import Macros

_HTML = Macros("guide/head.html")


def build_head() -> None:
    """Draw title, subtitle, the two buttons and the two switches in one line."""
    gr.HTML(_HTML.head(), padding=False)
    gr.HTML(_HTML.switches(LANGUAGES), padding=False, elem_id="head-switches")
