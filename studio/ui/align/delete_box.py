"""Deleting an imported dataset, after a second click."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.services import Services
from studio.services.files.markdown import plain
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.training.form import dataset_choices


def build_delete_box(services: Services, shared: Shared, app: gr.Blocks, dataset: gr.Dropdown) -> None:
    """Draw the box; a dataset that is deleted leaves the choices of ``dataset``."""
    with gr.Accordion("Delete an imported dataset", open=False, elem_id="delete-box"):
        chosen = gr.Dropdown([], label="Imported dataset", elem_id="delete-dataset")
        delete = gr.Button("Delete", size="sm", variant="stop", elem_id="dataset-delete")
        with gr.Row(visible=False) as sure_row:
            sure = gr.Button("Yes, delete it", size="sm", variant="stop", elem_id="dataset-sure")
            keep = gr.Button("Keep it", size="sm")
        report = gr.Markdown(elem_id="delete-report")

    def offer(now: str | None = None) -> Any:
        imported = [(info.title, info.id) for info in services.datasets.list() if info.source != "shipped"]
        return gr.Dropdown(choices=imported, value=now if now in {value for _, value in imported} else None)

    def ask(mark: Visitor, dataset_id: str | None) -> tuple[Any, str]:
        require_operator(mark, "deleting data")
        if not dataset_id:
            raise InputError("There is nothing to delete; choose an imported dataset first.")
        return gr.Row(visible=True), "Runs keep their own copy of what they were trained on. This cannot be undone."

    def remove(mark: Visitor, dataset_id: str | None, used: str | None) -> tuple[Any, Any, Any, str]:
        require_operator(mark, "deleting data")
        services.datasets.delete(dataset_id or "")
        choices = dataset_choices(services, rated=True)
        ids = [value for _, value in choices]
        left = gr.Dropdown(choices=choices, value=used if used in ids else ids[0] if ids else None)
        return left, offer(), gr.Row(visible=False), f"{plain(dataset_id or '')} is deleted."

    for event in (app.load, dataset.change, shared.toxicity_visit.change):
        event(guarded(offer), chosen, chosen, **QUIET)
    delete.click(guarded(ask), [shared.visitor, chosen], [sure_row, report], **PRIVATE)
    sure.click(guarded(remove), [shared.visitor, chosen, dataset], [dataset, chosen, sure_row, report], **PRIVATE)
    keep.click(lambda: (gr.Row(visible=False), ""), None, [sure_row, report], **QUIET)
