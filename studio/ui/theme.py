"""Colours, type and the little CSS the studio needs; goes to ``launch()`` (Gradio 6)."""

from __future__ import annotations

import gradio as gr

#: One colour a side, everywhere: tables, charts, badges. Readable on light and dark grounds and by the colour-blind.
SUPPORT_COLOR = "#2a9d8f"
OPPOSE_COLOR = "#e07a3f"

CSS = """
.gradio-container { max-width: 1280px !important; margin: 0 auto; }
#studio-head { align-items: center; }
#studio-head h1 { margin: 0; font-size: 1.4rem; }
#studio-head p { margin: 0; opacity: .75; }
.side-support { color: #2a9d8f; font-weight: 600; }
.side-oppose { color: #e07a3f; font-weight: 600; }
.mono { font-family: var(--font-mono); font-size: .85em; }
.quiet { opacity: .75; }
footer { display: none !important; }
@media (max-width: 640px) { .gradio-container { padding: 6px !important; } }
"""


def theme() -> gr.themes.Base:
    """Gradio's Soft theme with system fonts: no request leaves the page for a font."""
    sans = ["ui-sans-serif", "system-ui", "Noto Sans", "Noto Sans CJK TC", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]
    return gr.themes.Soft(primary_hue="teal", secondary_hue="orange", neutral_hue="slate", font=sans, font_mono=mono)
