"""The bin in the Library tab: what was deleted, back in its place or gone for good."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.services import Services
from studio.services.runs.bin import KEPT_DAYS
from studio.services.wording import counted, file_size
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.changes import RUNS, when_changed
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import QUIET, Shared


def build_bin_box(
    services: Services, shared: Shared, app: gr.Blocks, restored: Callable[[], dict[Any, Any]], listing: list[Any]
) -> None:
    """Draw the box; ``restored`` gives the updates of ``listing`` once a run is back."""
    library = services.library
    with gr.Accordion("Bin", open=False, visible=False, elem_id="library-bin") as box:
        about = gr.Markdown(elem_id="bin-about", elem_classes="quiet")
        chosen = gr.Dropdown([], label="Deleted run", elem_id="bin-run")
        with gr.Row():
            back = gr.Button("Restore", size="sm", elem_id="bin-restore")
            empty = gr.Button("Empty the bin", size="sm", variant="stop", elem_id="bin-empty")
    shown = [box, about, chosen]

    def look() -> dict[Any, Any]:
        runs = library.binned()
        size = file_size(sum(run.size_bytes for run in runs))
        choices = [
            (
                f"{run.run_id} · {time.strftime('%d %b %H:%M', time.localtime(run.deleted))} · {file_size(run.size_bytes)}",
                run.run_id,
            )
            for run in runs
        ]
        return {
            box: gr.Accordion(label=f"Bin: {counted(len(runs), 'run')}, {size}", visible=bool(runs)),
            about: f"Deleted runs stay here for {KEPT_DAYS} days.",
            chosen: gr.Dropdown(choices=choices, value=choices[0][1] if choices else None),
        }

    def restore(mark: Visitor, run_id: str | None) -> dict[Any, Any]:
        require_operator(mark, "restoring")
        if not run_id:
            raise InputError("There is nothing to restore; choose a deleted run first.")
        library.restore(run_id)
        gr.Info(f"{run_id} is back.", duration=4)
        return {**look(), **restored()}

    def clear(mark: Visitor) -> dict[Any, Any]:
        require_operator(mark, "deleting")
        library.empty_bin()
        return look()

    when_opened(box, app, guarded(look), None, shown)
    when_changed(RUNS, guarded(look), None, shown)
    back.click(guarded(restore), [shared.visitor, chosen], [*shown, *listing], **QUIET)
    empty.click(guarded(clear), shared.visitor, shown, **QUIET)
