"""Colours and type; the little CSS the studio needs is ``studio.css``. Both go to ``launch()`` (Gradio 6)."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

#: One colour a side, everywhere: tables, charts, badges. Readable on light and dark grounds and by the colour-blind.
SUPPORT_COLOR = "#2a9d8f"
OPPOSE_COLOR = "#e07a3f"
#: Of several runs or adapters, one each, in turn.
PALETTE = ("#3b6fb6", "#c2549d", "#8a6d3b", "#5b8c2a", "#7a5cc2", "#b0413e")
#: Neither this nor that; what asks for attention; what went wrong.
NEUTRAL_COLOR, WARN_COLOR, BAD_COLOR = "#8a8f98", "#d9a441", "#c0392b"
#: The state of a run, of an evaluation, of a batch.
STATE_COLORS = {
    "queued": NEUTRAL_COLOR,
    "running": SUPPORT_COLOR,
    "stopping": WARN_COLOR,
    "done": PALETTE[0],
    "stopped": WARN_COLOR,
    "failed": BAD_COLOR,
    "interrupted": BAD_COLOR,
}

#: Fonts of the system, for Latin letters and for Chinese (Traditional first), as Windows, macOS and Linux call theirs. A chart saved as
#: an image uses them too: fonts that a page brings do not reach it.
SANS = (
    "system-ui",
    "Segoe UI",
    "Helvetica Neue",
    "Noto Sans",
    "PingFang TC",
    "Microsoft JhengHei",
    "Noto Sans CJK TC",
    "Noto Sans TC",
    "Source Han Sans TC",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
    "sans-serif",
)
CSS_FILE = Path(__file__).with_name("studio.css")


def theme() -> gr.themes.Base:
    """Gradio's Soft theme with system fonts: no request leaves the page for a font."""
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]
    base = gr.themes.Soft(
        primary_hue="teal", secondary_hue="orange", neutral_hue="slate", font=list(SANS), font_mono=mono
    )
    # Field names as plain bold text: Soft's filled labels shout louder than the values they name.
    return base.set(
        block_title_background_fill="none",
        block_title_background_fill_dark="none",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_padding="0",
        block_label_background_fill="none",
        block_label_background_fill_dark="none",
        block_label_text_color="*body_text_color_subdued",
        block_label_text_color_dark="*body_text_color_subdued",
    )
