"""Thumbs on single answers: how many there are, as data to train on with KTO, and as a file."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from studio.services import Services
from studio.services.data.annotated.rated import count_thumbs, kto_file
from studio.services.data.datasets import counted
from studio.services.rating.thumbs import rated_answers
from studio.services.wording import counted as count
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.parts.downloads import save_after, served
from studio.ui.parts.html import parts


def build_thumbs_box(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the box and bind its events."""
    with gr.Accordion("Thumbs", open=False, elem_id="thumbs-box") as box:
        gr.Markdown(
            "Pressed below answers in Compare, and on the voting page once voting is closed. KTO trains on them.",
            elem_classes="quiet",
        )
        line = gr.HTML(elem_id="thumbs-count")
        with gr.Row():
            keep = gr.Button("Use as data", variant="primary", size="sm", min_width=110, elem_id="thumbs-keep")
            files = [
                (gr.Button(f"Download {kind.upper()}", size="sm", min_width=110, elem_id=f"thumbs-{kind}"), kind)
                for kind in ("jsonl", "csv")
            ]
            made = gr.DownloadButton("Download again", visible=False, size="sm", elem_id="thumbs-file")
        report = gr.HTML(elem_id="thumbs-report")

    def look() -> Any:
        thumbs = services.thumbs.all()
        rated, split = rated_answers(thumbs)
        people = count(len({thumb.rater_id for thumb in thumbs}), "visitor")
        even = f" {count(split, 'answer')} with as many thumbs up as down left out." if split else ""
        return parts.quiet(f"{count_thumbs(rated)}, by {people}.{even}")

    def keep_them(mark: Visitor) -> str:
        require_operator(mark, "keeping data")
        data = services.thumbs.keep_as_dataset(services.datasets)
        return parts.report(f"Kept as {data.title}: {counted(data)}.", ["Choose it under Align; Train uses KTO."])

    def download(kind: str, mark: Visitor) -> Any:
        require_operator(mark, "exporting thumbs")
        rated, _ = rated_answers(services.thumbs.all())
        name = f"thumbs-{time.strftime('%Y-%m-%d')}.{kind}"
        return gr.DownloadButton("Download again", value=served(kto_file(rated, kind), name), visible=True)

    when_opened(line, app, guarded(look), None, line)
    box.expand(guarded(look), None, line, **QUIET)
    keep.click(guarded(keep_them), shared.visitor, report, **PRIVATE)
    for button, kind in files:
        press = guarded(lambda mark, kind=kind: download(kind, mark))
        save_after(button.click(press, shared.visitor, made, **PRIVATE), made)
