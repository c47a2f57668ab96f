"""What can be done with an evaluation once it is there: keep it, give it a name and a link, export it, delete it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.errors import ConflictError, NotFoundError
from studio.services import Services
from studio.services.evaluations.dynamodb import put_evaluation
from studio.services.evaluations.table import file_name
from studio.services.pages.evaluation import evaluation_page
from studio.ui.evaluations.section import CompareSection
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.parts.downloads import save_after, served
from studio.ui.parts.html import Macros, parts

_HTML = Macros("evaluations/keep_box.html")


def build_keep_box(services: Services, shared: Shared, app: gr.Blocks, section: CompareSection) -> None:
    """Draw the box below the results of ``section`` and bind its events."""
    table = services.settings.dynamodb_table
    with gr.Column(visible=False, elem_id="eval-keep") as box:
        gr.Markdown("## Keep and publish")
        about = gr.HTML(elem_id="eval-kept", padding=False)
        with gr.Row():
            keep = gr.Button("Keep", size="sm", min_width=110, elem_id="eval-keep-on")
            report = gr.Button("Save page", size="sm", min_width=150, elem_id="eval-report")
            publish = gr.Button(
                f"Put into DynamoDB table {table}",
                size="sm",
                min_width=150,
                visible=bool(table),
                elem_id="eval-dynamodb",
            )
            delete = gr.Button("Delete", variant="stop", size="sm", min_width=90, elem_id="eval-delete")
        title = gr.Textbox(label="Title", max_lines=1, submit_btn="Rename", elem_id="eval-kept-title")
        put = gr.HTML(visible=False, elem_id="eval-put", padding=False)
        with gr.Row(visible=False, elem_id="eval-sure-row") as sure_row:
            sure = gr.Button("Yes, delete it with its answers", variant="stop", size="sm", elem_id="eval-sure")
            unsure = gr.Button("No, leave it", size="sm", elem_id="eval-unsure")
        made = gr.DownloadButton("Download again", visible=False, size="sm", elem_id="eval-report-file")

    def look(chosen: str | None) -> dict[Any, Any]:
        """What there is to do with the evaluation on screen."""
        closed: dict[Any, Any] = {sure_row: gr.Row(visible=False), put: gr.HTML(visible=False)}
        try:
            evaluation = services.evaluations.summary(chosen) if chosen else None
        except NotFoundError:  # deleted from another page
            evaluation = None
        if evaluation is None:
            return {box: gr.Column(visible=False), **closed}
        return {
            **closed,
            box: gr.Column(visible=True),
            about: _HTML.kept(evaluation.id) if evaluation.kept else _HTML.not_kept(),
            keep: gr.Button("Do not keep" if evaluation.kept else "Keep"),
            title: evaluation.spec.title,
        }

    def turn(mark: Visitor, chosen: str | None) -> dict[Any, Any]:
        require_operator(mark, "keeping results")
        evaluation_id = _open(chosen)
        services.evaluations.keep(evaluation_id, not services.evaluations.summary(evaluation_id).kept)
        return look(evaluation_id)

    def rename(mark: Visitor, chosen: str | None, text: str | None) -> dict[Any, Any]:
        require_operator(mark, "renaming results")
        services.evaluations.rename(_open(chosen), text or "")
        return {**look(chosen), **section.picks(chosen)}

    def write(chosen: str | None) -> Any:
        evaluation = services.evaluations.get(_open(chosen))
        if not evaluation.rows:
            raise ConflictError("This evaluation has no pair yet; there is nothing to save.")
        path = served(evaluation_page(services.runs, evaluation).encode(), file_name(evaluation, "html"))
        return gr.DownloadButton(value=path, visible=True)

    def send(
        mark: Visitor,
        chosen: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
    ) -> Any:
        require_operator(mark, "publishing results")
        done = put_evaluation(
            services.evaluations.get(_open(chosen)),
            services.settings,
            lambda n, total: progress((n, total), unit="rows"),
        )
        return gr.HTML(parts.quiet(f"{done.items:,} rows stand in table {done.table} ({done.region})."), visible=True)

    def remove(mark: Visitor, chosen: str | None) -> dict[Any, Any]:
        require_operator(mark, "deleting results")
        services.evaluations.delete(_open(chosen))
        return section.picks(None)

    outputs = [box, about, keep, title, put, sure_row]
    picked = [section.picker, section.chosen]
    section.chosen.change(guarded(look), section.chosen, outputs, **QUIET)
    keep.click(guarded(turn), [shared.visitor, section.chosen], outputs, **QUIET)
    title.submit(guarded(rename), [shared.visitor, section.chosen, title], [*outputs, *picked], **QUIET)
    save_after(report.click(guarded(write), section.chosen, made, **QUIET), made)
    publish.click(guarded(send), [shared.visitor, section.chosen], put, show_progress_on=put, **PRIVATE)
    delete.click(lambda: gr.Row(visible=True), None, sure_row, **QUIET)
    unsure.click(lambda: gr.Row(visible=False), None, sure_row, **QUIET)
    sure.click(guarded(remove), [shared.visitor, section.chosen], picked, **QUIET)


def _open(chosen: str | None) -> str:
    if not chosen:
        raise NotFoundError("No evaluation is open; choose one first.")
    return chosen
