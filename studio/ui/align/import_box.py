"""Bringing data in: a file of pairs (and a second one with test prompts), dialogues to summarise, or a dataset of the Hub."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.services import Services
from studio.services.data.datasets import counted
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, Shared
from studio.ui.parts.html import parts
from studio.ui.training.form import dataset_choices


def build_import_box(services: Services, shared: Shared, dataset: gr.Dropdown) -> None:
    """Draw the box; what is imported becomes the value of ``dataset``."""
    with gr.Accordion("Import preference data", open=False, elem_id="import-box"):
        gr.Markdown(
            "JSON, JSONL, CSV or Parquet: `prompt, support, oppose` (the course's format; test prompts may come in a second "
            "file) or `prompt, chosen, rejected` (TRL). `id, dialogue, summary, topic` (DialogSum, `knkarthick/dialogsum` on the "
            "Hub) becomes prompts for a detox run. Nothing is kept if a row is faulty.",
            elem_classes="quiet",
        )
        with gr.Row():
            file = gr.File(label="Preference data", type="filepath", height=110, elem_id="import-file")
            tests = gr.File(label="Test prompts (optional)", type="filepath", height=110, elem_id="import-tests")
        hub = gr.Textbox(label="…or a dataset id on the Hub", placeholder="owner/name", max_lines=1)
        with gr.Row():
            split = gr.Textbox("train", label="Split", max_lines=1, min_width=100, elem_id="import-split")
            limit = gr.Number(0, label="Rows at most (0: all)", precision=0, minimum=0, min_width=100)
        with gr.Row():
            name = gr.Textbox(label="Title", placeholder="from the file name", max_lines=1)
            heldout = gr.Slider(0, 0.5, value=0, step=0.05, label="Share held out")
        button = gr.Button("Import", size="sm", elem_id="import")
        report = gr.HTML(elem_id="import-report")

    def run_import(
        mark: Visitor,
        path: str | None,
        tests_path: str | None,
        hub_id: str | None,
        part: str | None,
        most: float | None,
        title: str | None,
        aside: float | None,
    ) -> tuple[Any, str]:
        require_operator(mark, "importing")
        hub_dataset, name_given, share = (hub_id or "").strip(), (title or "").strip() or None, aside or 0.0
        if path:
            done = services.datasets.import_file(path, tests_path, title=name_given, heldout_fraction=share)
        elif hub_dataset:
            part_name = (part or "").strip() or "train"
            done = services.datasets.import_hub(
                hub_dataset, part_name, int(most) if most else None, title=name_given, heldout_fraction=share
            )
        else:
            raise InputError("There is nothing to import; choose a file or type a Hub id.")
        data = done.dataset
        done_line, notes = f"Imported {data.title}: {counted(data)}.", list(done.warnings)
        if not data.pairs:  # nothing for this form to train on
            return gr.skip(), parts.report(done_line, [*notes, "It is there for the Toxicity tab now."])
        return gr.Dropdown(choices=dataset_choices(services), value=data.id), parts.report(done_line, notes)

    sources = [file, tests, hub, split, limit, name, heldout]
    button.click(guarded(run_import), [shared.visitor, *sources], [dataset, report], **PRIVATE)
