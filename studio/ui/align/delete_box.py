"""Deleting an imported dataset, after a second click; and having it back."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.i18n import Named
from studio.services import Services
from studio.services.files.bin import KEPT_DAYS
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
        undo = gr.Button("Undo", size="sm", visible=False, elem_id="dataset-undo")
    deleted = gr.State("")

    def offer(now: str | None = None) -> Any:
        imported = [(Named(info.title), info.id) for info in services.datasets.list() if info.source != "shipped"]
        return gr.Dropdown(choices=imported, value=now if now in {value for _, value in imported} else None)

    def ask(mark: Visitor, dataset_id: str | None) -> tuple[Any, str]:
        require_operator(mark, "deleting data")
        if not dataset_id:
            raise InputError("There is nothing to delete; choose an imported dataset first.")
        return gr.Row(visible=True), f"Runs keep their own copy. The Library keeps it in its bin for {KEPT_DAYS} days."

    def remove(mark: Visitor, dataset_id: str | None, used: str | None) -> dict[Any, Any]:
        require_operator(mark, "deleting data")
        services.datasets.delete(dataset_id or "")
        said = f"{plain(dataset_id or '')} is deleted."
        return {
            **choices_now(used),
            sure_row: gr.Row(visible=False),
            report: said,
            undo: gr.Button(visible=True),
            deleted: dataset_id,
        }

    def bring_back(mark: Visitor, dataset_id: str, used: str | None) -> dict[Any, Any]:
        require_operator(mark, "restoring")
        services.datasets.restore(dataset_id)
        return {
            **choices_now(used),
            report: f"{plain(dataset_id)} is back.",
            undo: gr.Button(visible=False),
            deleted: "",
        }

    def choices_now(used: str | None) -> dict[Any, Any]:
        choices = dataset_choices(services, rated=True)
        ids = [value for _, value in choices]
        left = gr.Dropdown(choices=choices, value=used if used in ids else ids[0] if ids else None)
        return {dataset: left, chosen: offer()}

    for event in (app.load, dataset.change, shared.toxicity_visit.change):
        event(guarded(offer), chosen, chosen, **QUIET)
    delete.click(guarded(ask), [shared.visitor, chosen], [sure_row, report], **PRIVATE)
    sure.click(
        guarded(remove),
        [shared.visitor, chosen, dataset],
        [dataset, chosen, sure_row, report, undo, deleted],
        **PRIVATE,
    )
    undo.click(
        guarded(bring_back), [shared.visitor, deleted, dataset], [dataset, chosen, report, undo, deleted], **PRIVATE
    )
    keep.click(lambda: (gr.Row(visible=False), ""), None, [sure_row, report], **QUIET)
