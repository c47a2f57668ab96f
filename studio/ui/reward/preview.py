"""What a reward run will be trained on and measured on, as a table beside its form, and the line that counts it."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.services import Services
from studio.services.reward.data import TableRow
from studio.services.reward.service import RewardForm, RewardPreview

#: Rows and characters of a cell sent to the page at most, at every turn of the dial.
ROWS, CHARACTERS = 200, 600
HEADERS = ["#", "Prompt", "Chosen", "Rejected", "From", "Part"]


def build_table() -> gr.Dataframe:
    """Draw the table, empty."""
    return gr.Dataframe(
        headers=HEADERS,
        datatype=["number", "str", "str", "str", "str", "str"],
        interactive=False,
        wrap=True,
        max_height=420,
        column_widths=["40px", "140px", "168px", "168px", "98px", "68px"],
        label="What will be trained on and measured on",
        show_row_numbers=False,
        elem_id="reward-preview",
    )


def preview(services: Services, form: RewardForm) -> tuple[str, list[list[Any]]]:
    """The line that counts what a form comes to, and the table of its rows; or what is wrong with it, and no row."""
    try:
        found = services.reward.preview(form)
    except StudioError as error:
        return wrong(error), []
    shown = found.table(ROWS)
    return _counted(found, shown), [_cells(line, found.data.dataset.kind == "sides") for line in shown]


def wrong(error: StudioError) -> str:
    """A mistake in the form as a line of it."""
    return f'<div class="run-message">{escape(str(error))}</div>'


def _counted(found: RewardPreview, shown: tuple[TableRow, ...]) -> str:
    data, lost = found.data, found.left_out
    flipped = sum(row.flipped for row in data.rows)
    parts = [
        f"<b>{len(data.rows):,}</b> pairs to train on ({flipped:,} flipped), <b>{len(data.heldout):,}</b> held out by prompt"
    ]
    if lost is not None:
        parts.append(f"undecided and left out: {escape(str(lost))}")
    if data.doubled:
        parts.append(f"{data.doubled:,} pairs of the dataset are among the votes already")
    aside = sum(line.heldout for line in shown)
    if len(shown) < len(data.rows) + len(data.heldout):
        parts.append(
            f"the table shows {len(shown) - aside} of them, the first and the last, and {aside} of the held-out ones"
        )
    return f'<div class="quiet">{"; ".join(parts)}.</div>'


def _cells(line: TableRow, sides: bool) -> list[Any]:
    row = line.row
    before = sum(turn.role != "system" for turn in row.history)
    asked = f"(after {before} earlier turns) {row.prompt}" if before else row.prompt
    turned = "\n⇄ oppose" if sides else "\n⇄ flipped"
    source = line.source + (turned if row.flipped else "")
    part = "held out" if line.heldout else "train"
    return [line.number, *map(_clipped, (asked, row.chosen, row.rejected)), source, part]


def _clipped(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}… (+{len(text) - CHARACTERS:,} characters)"
