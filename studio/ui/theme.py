"""Colours and type; the little CSS the studio needs is ``studio.css``. Both go to ``launch()`` (Gradio 6)."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

#: One colour a side, everywhere: tables, charts, badges. Readable on light and dark grounds and by the colour-blind.
SUPPORT_COLOR = "#2a9d8f"
OPPOSE_COLOR = "#e07a3f"

CSS_FILE = Path(__file__).with_name("studio.css")


def theme() -> gr.themes.Base:
    """Gradio's Soft theme with system fonts: no request leaves the page for a font."""
    sans = ["ui-sans-serif", "system-ui", "Noto Sans", "Noto Sans CJK TC", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]
    return gr.themes.Soft(primary_hue="teal", secondary_hue="orange", neutral_hue="slate", font=sans, font_mono=mono)
