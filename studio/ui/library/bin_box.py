"""The bin in the Library tab: what was deleted, back in its place or gone for good."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.i18n import Named
from studio.services import Services
from studio.services.files.bin import KEPT_DAYS, binned, remove_old
from studio.services.wording import counted, file_size
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.changes import RUNS, when_changed
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import QUIET, Shared

#: What the id of a deleted dataset stands behind in the choices.
_DATASET = "dataset:"


def build_bin_box(
    services: Services, shared: Shared, app: gr.Blocks, restored: Callable[[], dict[Any, Any]], listing: list[Any]
) -> None:
    """Draw the box; ``restored`` gives the updates of ``listing`` once something is back."""
    library, folder = services.library, services.settings.imported_dir
    with gr.Accordion("Bin", open=False, visible=False, elem_id="library-bin") as box:
        about = gr.Markdown(elem_id="bin-about", elem_classes="quiet")
        chosen = gr.Dropdown([], label="Deleted run or dataset", elem_id="bin-run")
        with gr.Row():
            back = gr.Button("Restore", size="sm", elem_id="bin-restore")
            empty = gr.Button("Empty the bin", size="sm", variant="stop", elem_id="bin-empty")
        with gr.Row(visible=False, elem_id="bin-sure-row") as sure_row:
            sure = gr.Button("Yes, delete all for good", size="sm", variant="stop", elem_id="bin-sure")
            keep = gr.Button("Keep it", size="sm", elem_id="bin-keep")
    shown = [box, about, chosen]

    def look() -> dict[Any, Any]:
        runs, datasets = library.binned(), binned(folder)
        size = file_size(sum(one.size_bytes for one in (*runs, *datasets)))
        listed = [(one, one.name, one.name) for one in runs]
        listed += [(one, name := Path(one.name).stem, f"{_DATASET}{name}") for one in datasets]
        choices = [
            (
                Named(name, time.strftime("%d %b %H:%M", time.localtime(one.deleted)), file_size(one.size_bytes)),
                value,
            )
            for one, name, value in sorted(listed, key=lambda entry: -entry[0].deleted)
        ]
        held = [counted(len(runs), "run")] if runs else []
        held += [counted(len(datasets), "dataset")] if datasets else []
        return {
            box: gr.Accordion(label=f"Bin: {' · '.join([*held, size])}", visible=bool(choices)),
            about: f"What was deleted stays here for {KEPT_DAYS} days.",
            chosen: gr.Dropdown(choices=choices, value=choices[0][1] if choices else None),
        }

    def restore(mark: Visitor, name: str | None) -> dict[Any, Any]:
        require_operator(mark, "restoring")
        if not name:
            raise InputError("There is nothing to restore; choose a deleted run or dataset first.")
        if name.startswith(_DATASET):
            services.datasets.restore(name.removeprefix(_DATASET))
        else:
            library.restore(name)
        gr.Info(f"{escape(name.removeprefix(_DATASET), quote=False)} is back.", duration=4)
        return {**look(), **restored()}

    def ask(mark: Visitor) -> Any:
        require_operator(mark, "deleting")
        return gr.Row(visible=True)

    def clear(mark: Visitor) -> dict[Any, Any]:
        require_operator(mark, "deleting")
        library.empty_bin()
        remove_old(folder, days=0)
        return {**look(), sure_row: gr.Row(visible=False)}

    when_opened(box, app, guarded(look), None, shown)
    when_changed(RUNS, guarded(look), None, shown)
    back.click(guarded(restore), [shared.visitor, chosen], [*shown, *listing], **QUIET)
    empty.click(guarded(ask), shared.visitor, sure_row, **QUIET)
    sure.click(guarded(clear), shared.visitor, [*shown, sure_row], **QUIET)
    keep.click(lambda: gr.Row(visible=False), None, sure_row, **QUIET)
