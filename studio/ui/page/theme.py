"""Colours and type; the little CSS the studio needs is ``studio.css``. Both go to ``launch()`` (Gradio 6)."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from studio.services.pages.html import FOLDER

#: One colour a side, everywhere: tables, charts, badges. Readable on light and dark grounds and by the colour-blind.
SUPPORT_COLOR = "#2a9d8f"
OPPOSE_COLOR = "#e07a3f"
#: Of several runs or adapters, one each, in turn.
PALETTE = ("#3b6fb6", "#c2549d", "#8a6d3b", "#5b8c2a", "#7a5cc2", "#b0413e")
#: Neither this nor that; what asks for attention; what went wrong.
NEUTRAL_COLOR, WARN_COLOR, BAD_COLOR = "#8a8f98", "#d9a441", "#c0392b"
#: The state of a run, of an evaluation, of a batch: dark enough for white words on it.
STATE_COLORS = {
    "queued": "#5f6672",
    "running": "#17756b",
    "stopping": "#8a5f10",
    "done": PALETTE[0],
    "stopped": "#8a5f10",
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
#: Gradio's scripts and styles as they are served, below ``assets``.
ASSETS = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
#: The studio's own, and what its static pages share with it.
CSS_FILES = (Path(__file__).with_name("studio.css"), FOLDER / "pages" / "cover.css")


def theme() -> gr.themes.Base:
    """Gradio's Soft theme with system fonts: no request leaves the page for a font."""
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]
    base = gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="orange",
        neutral_hue="slate",
        spacing_size=gr.themes.sizes.spacing_sm,
        font=list(SANS),
        font_mono=mono,
    )
    contrasts = {
        # white words on it: 5.5:1; Soft's own teal has 2.5:1
        "button_primary_background_fill": "*primary_700",
        "button_primary_background_fill_hover": "*primary_800",
        "button_primary_background_fill_dark": "*primary_700",
        "button_primary_background_fill_hover_dark": "*primary_800",
        "button_primary_text_color": "white",
        "checkbox_background_color_selected": "*primary_700",
        "checkbox_border_color_selected": "*primary_700",
        "checkbox_label_background_fill_selected": "*primary_700",
        "checkbox_label_background_fill_selected_dark": "*primary_700",
        "slider_color": "*primary_700",
        "slider_color_dark": "*primary_400",
        "color_accent": "*primary_700",
        "link_text_color": "*primary_700",
        "link_text_color_hover": "*primary_800",
        "link_text_color_active": "*primary_800",
        "link_text_color_visited": "*primary_700",
        "link_text_color_dark": "*primary_300",
        "link_text_color_hover_dark": "*primary_200",
        "link_text_color_active_dark": "*primary_200",
        "link_text_color_visited_dark": "*primary_300",
        # helper text: 7.6:1 and 9.6:1
        "body_text_color_subdued": "*neutral_600",
        "body_text_color_subdued_dark": "*neutral_300",
        "input_placeholder_color": "*neutral_500",
        "input_placeholder_color_dark": "*neutral_300",
        # borders: 4.8:1 and 5.7:1
        "input_border_width": "1px",
        "input_border_color": "*neutral_500",
        "input_border_color_focus": "*primary_700",
        "input_border_color_dark": "*neutral_400",
        "checkbox_border_color": "*neutral_500",
        "checkbox_border_color_dark": "*neutral_400",
        "button_secondary_border_color": "*neutral_500",
        "button_secondary_border_color_dark": "*neutral_400",
        # white words on it: 4.8:1; Soft's teal under the pointer has 2.5:1
        "button_secondary_background_fill_hover_dark": "*neutral_500",
        # what ends or deletes, on a darker ground: 6.5:1 and 7.4:1
        "button_cancel_background_fill_dark": "*neutral_800",
        "button_cancel_background_fill_hover_dark": "*neutral_700",
        "error_text_color": "#b91c1c",
    }
    # said for the dark, too: what is said once is the light's value there
    contrasts |= {
        f"button_cancel_{part}_color{state}{mode}": "var(--bad)"
        for part in ("text", "border")
        for state in ("", "_hover")
        for mode in ("", "_dark")
    }
    # Field names as plain bold text: Soft's filled labels shout louder than the values they name.
    return base.set(
        **contrasts,
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
