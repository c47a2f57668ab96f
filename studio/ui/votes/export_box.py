"""Export and import of votes: a zip to download, a push to the Hub, an import; and how far the backup is behind."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.services import Services
from studio.services.files.markdown import plain
from studio.services.votes.export import ExportOptions, argilla_zip, export_zip, push_votes
from studio.services.votes.read_export import read_votes
from studio.services.votes.restore import restore
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import POLLED, PRIVATE, Shared
from studio.ui.parts.downloads import save_after, served
from studio.ui.parts.html import parts

DATASET, ARGILLA = "dataset", "argilla"
#: Seconds between two looks at the backup.
_LOOK_S = 5.0


def build_export_box(services: Services, shared: Shared, room: gr.State, app: gr.Blocks) -> None:
    """For the room whose code ``room`` holds: draw the line about the backup (where there is one) and the box, and bind their events."""
    if services.mirror is not None:
        backup = gr.HTML(elem_id="votes-backup")
        timer = gr.Timer(_LOOK_S)
        for event in (app.load, timer.tick):
            event(guarded(lambda: backup_html(services)), None, backup, **POLLED)
    with gr.Accordion("Export and import votes", open=False, elem_id="votes-box"):
        gr.Markdown(
            "**Dataset**: every vote, every pair and the decided preferences (TRL), with a card that says how far to trust "
            "them. **Argilla**: the same pairs and votes as an Argilla 2 dataset. Raters go out under pseudonyms.",
            elem_classes="quiet",
        )
        with gr.Row():
            kind = gr.Radio([("Dataset", DATASET), ("Argilla 2", ARGILLA)], value=DATASET, label="What")
            form = gr.Radio([("both", "both"), ("JSONL", "jsonl"), ("Parquet", "parquet")], value="both", label="Files")
        with gr.Row():
            licence = gr.Textbox(label="Licence (for the card)", placeholder="cc-by-4.0", max_lines=1)
            names = gr.Checkbox(label="With the raters' names", elem_id="votes-names")
        download = gr.Button("Download zip", variant="primary", size="sm", elem_id="votes-download")
        made = gr.DownloadButton("Download again", visible=False, size="sm", elem_id="votes-file")
        report = gr.Markdown(elem_id="votes-report")
        with gr.Accordion("Push to the Hub", open=False, elem_id="votes-push-box"):
            repo = gr.Textbox(label="Dataset", placeholder="owner/name", max_lines=1, elem_id="votes-repo")
            token = gr.Textbox(
                label="Write token (used once, never kept)", placeholder="hf_…", type="password", max_lines=1
            )
            private = gr.Checkbox(label="Private", value=True)
            push = gr.Button("Push", size="sm", elem_id="votes-push")
            pushed = gr.Markdown(elem_id="votes-pushed")
        with gr.Accordion("Import votes", open=False, elem_id="votes-import-box"):
            gr.Markdown(
                "A zip made here or in another studio, or an Argilla 2 dataset (its folder as a zip, or `records.json`). What is "
                "here already is not imported twice; of two votes of one rater on one pair the newer counts.",
                elem_classes="quiet",
            )
            file = gr.File(
                label="Export or Argilla dataset",
                file_types=[".zip", ".json", ".jsonl"],
                type="filepath",
                height=110,
                elem_id="votes-import-file",
            )
            take = gr.Button("Import", size="sm", elem_id="votes-import")
            taken = gr.Markdown(elem_id="votes-import-report")

    def make(mark: Visitor, code: str, form: str, files: str, named: bool, licensed: str) -> tuple[Any, str]:
        require_operator(mark, "exporting votes")
        ballots = services.rooms.rating(code).ballots()
        with tempfile.TemporaryDirectory(prefix="studio-votes-") as scratch:
            target = Path(scratch) / f"votes-{code and f'{code}-'}{form}-{time.strftime('%Y-%m-%d')}.zip"
            if form == ARGILLA:
                argilla_zip(ballots, target)
                contents = f"{len(ballots.votes)} votes on {len(ballots.pairs)} pairs"
            else:
                contents = str(export_zip(ballots, target, _options(files, named, licensed)))
            path = served(target.read_bytes(), target.name)
        return gr.DownloadButton("Download again", value=path, visible=True), f"In the zip: {contents}."

    def publish(
        mark: Visitor, code: str, where: str, secret: str, hidden: bool, files: str, named: bool, licensed: str
    ) -> tuple[str, str]:
        require_operator(mark, "pushing votes")
        url = push_votes(services.rooms.rating(code).ballots(), where, secret, hidden, _options(files, named, licensed))
        return "", f"Pushed: {plain(url)}"

    def bring(mark: Visitor, code: str, path: str | None) -> tuple[str, None]:
        require_operator(mark, "importing votes")
        if not path:
            raise InputError("There is nothing to import; choose a file first.")
        brought = read_votes(Path(path), services.settings.max_upload_mb * 1_000_000)
        done = restore(services.rooms.rating(code), brought)
        lines = [f"Read {brought.kind}: {done}.", *(f"- {plain(warning)}" for warning in done.warnings)]
        return "\n".join(lines), None

    choices = [form, names, licence]
    save_after(download.click(guarded(make), [shared.visitor, room, kind, *choices], [made, report], **PRIVATE), made)
    # the token leaves the page with the push
    push.click(guarded(publish), [shared.visitor, room, repo, token, private, *choices], [token, pushed], **PRIVATE)
    take.click(guarded(bring), [shared.visitor, room, file], [taken, file], **PRIVATE)


def backup_html(services: Services) -> str:
    """How far the copy on the Hub is behind, in one line."""
    if services.mirror is None:
        return ""
    status = services.mirror.status()
    return (parts.message if status.problem else parts.quiet)(str(status))


def _options(files: str, named: bool, licence: str) -> ExportOptions:
    return ExportOptions(files, bool(named), " ".join((licence or "").split())[:60])  # type: ignore[arg-type]
