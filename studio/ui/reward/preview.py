"""What a reward run will be trained on and measured on, as a table beside its form, and the line that counts it."""

from __future__ import annotations

from typing import Any

import gradio as gr
from markupsafe import Markup

from studio.errors import StudioError
from studio.i18n import said
from studio.services import Services
from studio.services.reward.data import TableRow
from studio.services.reward.service import RewardForm
from studio.ui.page.access import OPERATORS_ROWS, may_read_data
from studio.ui.parts.html import Macros, parts

#: Rows and characters of a cell sent to the page at most, at every turn of the dial.
ROWS, CHARACTERS = 200, 600
_HTML = Macros("reward/preview.html")
HEADERS = ["#", "Prompt", "Preferred", "Not preferred", "From", "Part"]


def build_table() -> gr.Dataframe:
    """Draw the table, empty, in a closed box."""
    with gr.Accordion("Training and held-out pairs", open=False, elem_id="reward-data-box"):
        return gr.Dataframe(
            headers=HEADERS,
            datatype=["number", "str", "str", "str", "str", "str"],
            interactive=False,
            wrap=True,
            max_height=420,
            column_widths=["40px", "140px", "168px", "168px", "98px", "68px"],
            show_label=False,
            show_row_numbers=False,
            elem_id="reward-preview",
        )


def preview(services: Services, form: RewardForm) -> tuple[Markup, list[list[Any]]]:
    """The line that counts what a form comes to, and the table of its rows; or what is wrong with it, and no row."""
    try:
        plan = services.reward.preview(form)
    except StudioError as error:
        return parts.message(str(error)), []
    shown = plan.table(ROWS)
    heldout = sum(line.heldout for line in shown)
    counts = _HTML.counts(plan.data, plan.left_out, len(shown) - heldout, heldout)
    if not may_read_data(services, form.dataset_id):
        return counts + parts.message(OPERATORS_ROWS), []
    return counts, [_cells(line, plan.data.dataset.kind == "sides") for line in shown]


def _cells(line: TableRow, sides: bool) -> list[Any]:
    row = line.row
    before = sum(turn.role != "system" for turn in row.history)
    prompt = f"{said(f'(after {before} earlier turns)')} {row.prompt}" if before else row.prompt
    flipped = "⇄ oppose" if sides else "⇄ flipped"
    source = line.source + (f"\n{said(flipped)}" if row.flipped else "")
    part = "held out" if line.heldout else "train"
    return [line.number, *map(_clipped, (prompt, row.chosen, row.rejected)), source, said(part)]


def _clipped(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}… (+{len(text) - CHARACTERS:,} characters)"
