"""Bringing data in: a file of pairs (and a second one with test prompts), dialogues to summarise, or a dataset of the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.services import Services
from studio.services.data.datasets import ImportParts, counted
from studio.services.data.row_reader import ReadOptions
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, Shared
from studio.ui.parts.html import parts
from studio.ui.parts.import_reading import (
    PREVIEW_ROWS,
    Preview,
    bind_reading,
    build_reading,
    first_row,
    read_options,
)
from studio.ui.training.form import dataset_choices


def build_import_box(services: Services, shared: Shared, dataset: gr.Dropdown) -> None:
    """Draw the box; what is imported becomes the value of ``dataset``."""
    with gr.Accordion("Import data", open=False, elem_id="import-box"):
        gr.Markdown(
            "`prompt, support, oppose` (the course's format; test prompts may come in a second file), or pairs as TRL, "
            "LLaMA-Factory, axolotl, ms-swift, OpenAI, distilabel, Argilla and others write them. What a file is read as is shown "
            "before anything is kept. Answers with a thumb (`prompt, completion, label`) are trained with KTO. Dialogues (`id, dialogue, summary, topic`) become prompts for a detox run.",
            elem_classes="quiet",
        )
        file = gr.File(label="Preference data", type="filepath", height=110, elem_id="import-file")
        with gr.Row():
            tests = gr.File(label="Test prompts", type="filepath", height=110, elem_id="import-tests")
            held = gr.File(label="Held-out pairs", type="filepath", height=110, elem_id="import-heldout")
        hub = gr.Textbox(
            label="…or a dataset id on the Hub", placeholder="owner/name, then Enter", max_lines=1, elem_id="import-hub"
        )
        with gr.Row():
            split = gr.Textbox("train", label="Split", max_lines=1, min_width=100, elem_id="import-split")
            limit = gr.Number(0, label="Rows at most (0: all)", precision=0, minimum=0, min_width=100)
        with gr.Row():
            title = gr.Textbox(label="Title", placeholder="from the file name", max_lines=1)
            heldout = gr.Slider(0, 0.5, value=0, step=0.05, label="Share held out")
        reading = build_reading("import", skip=True)
        button = gr.Button("Import", size="sm", elem_id="import")
        report = gr.HTML(elem_id="import-report")

    def run_import(
        mark: Visitor,
        path: str | None,
        tests_path: str | None,
        heldout_path: str | None,
        hub_id: str | None,
        part: str | None,
        most: float | None,
        title: str | None,
        aside: float | None,
        *values: Any,
    ) -> tuple[Any, str]:
        require_operator(mark, "importing")
        name = (hub_id or "").strip()
        tests_file, heldout_file = (Path(given) if given else None for given in (tests_path, heldout_path))
        with_it = ImportParts(tests_file, heldout_file, (title or "").strip() or None, aside or 0.0)
        how = read_options(values)
        if path:
            done = services.datasets.import_file(path, with_it, how)
        elif name:
            most_rows = int(most) if most else None
            done = services.datasets.import_hub(name, (part or "").strip() or "train", most_rows, with_it, options=how)
        else:
            raise InputError("There is nothing to import; choose a file or type a Hub id.")
        data = done.dataset
        done_line = f"Read as {done.shape}. Imported {data.title}: {counted(data)}."
        notes = list(done.warnings)
        if not (data.pairs or data.rated):  # nothing for this form to train on
            return gr.skip(), parts.report(done_line, [*notes, "It is there for the Toxicity tab now."])
        return gr.Dropdown(choices=dataset_choices(services, rated=True), value=data.id), parts.report(done_line, notes)

    def look(path: str, hub_id: str, part: str, how: ReadOptions) -> Preview:
        data = services.datasets
        seen = data.preview_file(path, how) if path else data.preview_hub(hub_id, part, PREVIEW_ROWS, options=how)
        row = first_row(seen.history, seen.prompt, seen.answers)
        of = "" if path else f" (of the first {PREVIEW_ROWS} rows)"
        return Preview(f"{seen}{of}", row, seen.warnings, () if how.skip_broken else seen.broken, seen.fields)

    bind_reading(reading, shared, file, hub, split, look)
    sources = [file, tests, held, hub, split, limit, title, heldout, *reading.values]
    button.click(guarded(run_import), [shared.visitor, *sources], [dataset, report], **PRIVATE)
