"""The Library tab: every adapter with what was measured on it, and the ways in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import InputError, NotAllowedError, NotFoundError, StudioError
from studio.i18n import Named
from studio.services import Services
from studio.services.files.bin import KEPT_DAYS
from studio.services.files.choosing import TOP
from studio.services.runs.store import RunView
from studio.services.strength import HIGHEST, LOWEST, check_strength
from studio.services.wording import file_size
from studio.ui.library import view
from studio.ui.library.bin_box import build_bin_box
from studio.ui.page.access import Visitor, may_read_runs, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.languages import AS_WRITTEN
from studio.ui.page.lines import FILES
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.parts.downloads import save_after
from studio.ui.training.run_bar import home_of

AS_IT_SAYS = "as the adapter says"
LOG, DATA = "its log", "its training pairs"


def build_library_tab(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the tab and bind its events."""
    library = services.library
    empty = gr.HTML(view.empty(), visible=False, elem_id="library-empty")
    table = gr.Dataframe(
        headers=list(view.HEADERS),
        datatype="str",
        interactive=False,
        wrap=True,
        max_height=420,
        column_widths=list(view.WIDTHS),
        show_row_numbers=False,
        label="Click a line to open the adapter",
        elem_id="library-table",
    )
    damaged = gr.HTML(visible=False, elem_id="library-damaged")
    chosen = gr.State(None)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            head = gr.HTML(elem_id="library-head")
            with gr.Column(visible=False) as actions:
                with gr.Row():
                    to_compare = gr.Button(
                        "Open in Compare", variant="primary", size="sm", elem_id="library-to-compare"
                    )
                    to_align = gr.Button("Open in Align", size="sm", elem_id="library-to-align")
                with gr.Row() as further:
                    to_score = gr.Button("Score before / after", size="sm", elem_id="library-to-score")
                    to_detox = gr.Button("Detox this adapter", size="sm", elem_id="library-to-detox")
                title = gr.Textbox(label="Name", max_lines=1, submit_btn="Rename", elem_id="library-title")
                note = gr.Textbox(label="Note", lines=2, max_lines=8, elem_id="library-note")
                save_note = gr.Button("Save note", size="sm", elem_id="library-save-note")
                with gr.Group():
                    extras = gr.CheckboxGroup([LOG, DATA], label="Put into the zip besides adapter, record and card")
                    strength = gr.Number(
                        1,
                        minimum=LOWEST,
                        maximum=HIGHEST,
                        step=0.05,
                        label="Strength",
                        info="1 saves the adapter as trained; another one as Compare answers with it, and the card says so.",
                        elem_id="library-strength",
                    )
                    with gr.Row():
                        download = gr.Button("Download zip", size="sm", elem_id="library-download")
                        merged = gr.Button("Merged export", size="sm", elem_id="library-merge")
                about_zip = gr.Markdown(
                    "The zip loads in plain PEFT and in another studio. *Merged export* adds the adapter into a copy of the base: "
                    "a plain transformers folder, as large as the base.",
                    elem_classes="quiet",
                )
                made = gr.DownloadButton("Download again", visible=False, size="sm", elem_id="library-file")
                _push_box(services, shared, chosen)
                delete = gr.Button("Delete", size="sm", variant="stop", elem_id="library-delete")
                with gr.Column(visible=False) as sure_row:
                    sure_text = gr.Markdown()
                    with gr.Row():
                        sure = gr.Button("Yes, delete it", variant="stop", size="sm", elem_id="library-sure")
                        never_mind = gr.Button("Keep it", size="sm")
        with gr.Column(scale=7, min_width=320, visible=False) as card_column:
            card = gr.Markdown(elem_id="library-card", elem_classes=AS_WRITTEN, container=True, buttons=["copy"])
            with gr.Accordion(
                "The card it came with (not written by this studio)", open=False, visible=False
            ) as foreign:
                foreign_text = gr.Textbox(show_label=False, lines=10, max_lines=24, interactive=False)

    with gr.Accordion("Import an adapter", open=False, elem_id="library-upload") as upload_box:
        about_upload = gr.Markdown(
            "A zip made by *Download zip*, or one with `adapter_config.json` and `adapter_model.safetensors` of a plain LoRA adapter "
            "anywhere in it, as TRL, LLaMA-Factory, ms-swift or a Trainer's checkpoint has them. Other files are left out, unread. "
            "The adapter must fit its base. Archives with a faulty part are rejected.",
            elem_classes="quiet",
        )
        with gr.Row():
            file = gr.File(
                label="Adapter zip", file_types=[".zip"], type="filepath", height=120, elem_id="library-upload-file"
            )
            with gr.Column():
                base = gr.Dropdown([AS_IT_SAYS], value=AS_IT_SAYS, label="Its base model")
                path = gr.Textbox(
                    label="…or a folder on the studio's machine", placeholder="/path/to/adapter", max_lines=1
                )
        checkpoint = gr.Dropdown(
            [], value=None, label="Which adapter of it", visible=False, elem_id="library-checkpoint"
        )
        take = gr.Button("Import", size="sm", elem_id="library-take")
        report = gr.HTML(elem_id="library-report")

    build_bin_box(services, shared, app, lambda: rows(), [table, empty, damaged, upload_box])

    panel = [
        to_compare,
        to_align,
        further,
        merged,
        chosen,
        head,
        actions,
        title,
        note,
        card_column,
        card,
        foreign,
        foreign_text,
        made,
        sure_row,
    ]
    listing = [table, empty, damaged, upload_box]

    def rows() -> dict[Any, Any]:
        runs, left_out = library.list(), library.damaged()
        return {
            damaged: gr.HTML(view.damaged(left_out), visible=bool(left_out)),
            table: gr.Dataframe(value=[view.row(run) for run in runs], visible=bool(runs)),
            empty: gr.HTML(visible=not runs),
            upload_box: gr.Accordion(open=True) if not runs else gr.skip(),
        }

    def show(run_id: str | None) -> dict[Any, Any]:
        run = _find(services, run_id)
        hidden = {made: gr.DownloadButton(visible=False, value=None), sure_row: gr.Column(visible=False)}
        if run is None:
            return {
                **hidden,
                chosen: None,
                head: gr.HTML(""),
                actions: gr.Column(visible=False),
                card_column: gr.Column(visible=False),
            }
        foreign_card = library.foreign_card(run.run_id)
        return {
            **hidden,
            chosen: run.run_id,
            head: view.header(run),
            to_compare: gr.Button(visible=run.method != "reward"),
            to_align: gr.Button(f"Open in {home_of(run)[0]}"),
            further: gr.Row(visible=run.method != "reward"),
            merged: gr.Button(visible=run.method != "reward"),
            actions: gr.Column(visible=True),
            title: run.title,
            note: run.note,
            card_column: gr.Column(visible=True),
            card: view.without_yaml(library.card(run.run_id)),
            foreign: gr.Accordion(visible=bool(foreign_card)),
            foreign_text: foreign_card,
        }

    def refresh(run_id: str | None) -> dict[Any, Any]:
        """The list anew; the opened adapter stays open, or closes where it is gone."""
        updates = rows()
        return updates if _find(services, run_id) is not None else {**updates, **show(None)}

    def pick(event: gr.SelectData) -> dict[Any, Any]:
        return show(event.row_value[-1])

    def rename(mark: Visitor, run_id: str | None, text: str) -> dict[Any, Any]:
        require_operator(mark, "renaming")
        library.rename(_needed(run_id), text)
        gr.Info("Renamed.", duration=3)
        return {**rows(), **show(run_id)}

    def keep_note(mark: Visitor, run_id: str | None, text: str) -> dict[Any, Any]:
        require_operator(mark, "writing notes")
        library.set_note(_needed(run_id), text)
        gr.Info("Note saved; it is on the card as well.", duration=3)
        return show(run_id)

    def make_zip(run_id: str | None, included: list[str], factor: float | None) -> Any:
        if included and not may_read_runs(services):
            raise NotAllowedError(
                "A run's log and training data are the operator's to give away here (STUDIO_VISITORS_READ_RUNS); make the zip "
                "without them."
            )
        made_file = library.zip(
            _needed(run_id),
            include_log=LOG in included,
            include_data=DATA in included,
            strength=check_strength(1 if factor is None else factor),
        )
        return gr.DownloadButton("Download the zip again", value=str(made_file), visible=True)

    def make_merged(
        mark: Visitor,
        run_id: str | None,
        factor: float | None,
        bar: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio's way
    ) -> Any:
        require_operator(mark, "exporting a merged model")
        strength = check_strength(1 if factor is None else factor)
        done = library.merged_zip(_needed(run_id), lambda share, text: bar(share, desc=text), strength)
        return gr.DownloadButton("Download the merged model again", value=str(done), visible=True)

    def ask_delete(mark: Visitor, run_id: str | None) -> tuple[Any, str]:
        require_operator(mark, "deleting")
        run = library.get(_needed(run_id))
        return gr.Column(visible=True), (
            f"Delete `{run.run_id}` ({file_size(run.size_bytes)}) with its adapter, curves and log? It stays in the bin for {KEPT_DAYS} days."
        )

    def remove(mark: Visitor, run_id: str | None) -> dict[Any, Any]:
        require_operator(mark, "deleting")
        library.delete(_needed(run_id))
        return {**rows(), **show(None)}

    def offer(mark: Visitor, upload: str | None, folder: str) -> Any:
        """The menu of the adapters in what was given, where there are several."""
        source = upload or folder.strip()
        if not source:
            return gr.Dropdown(choices=[], value=None, visible=False)
        require_operator(mark, "importing adapters")
        folders = library.adapters_in(Path(source))
        named = [("the one at its top" if name == TOP else Named(name), name) for name in folders]
        return gr.Dropdown(choices=named, value=folders[0] if folders else None, visible=len(folders) > 1)

    def import_adapter(
        mark: Visitor, upload: str | None, folder: str, base_id: str, chosen_folder: str | None
    ) -> dict[Any, Any]:
        require_operator(mark, "importing adapters")
        base_id = "" if base_id == AS_IT_SAYS else base_id
        if upload:
            done = library.import_zip(Path(upload), base_id, chosen_folder or "")
        elif folder.strip():
            done = library.import_folder(Path(folder.strip()), base_id, chosen_folder or "")
        else:
            raise InputError("There is nothing to import; choose a zip or type a folder.")
        none_left = gr.Dropdown(choices=[], value=None, visible=False)
        return {**rows(), **show(done.run_id), file: None, path: "", checkpoint: none_left, report: view.report(done)}

    def bases() -> Any:
        listed = [(info.title, info.id) for info in services.models.catalogue()]
        return gr.Dropdown(choices=[(AS_IT_SAYS, AS_IT_SAYS), *listed], value=AS_IT_SAYS)

    def compared(run_id: str | None) -> tuple[str, Any]:
        return library.get(_needed(run_id)).run_id, gr.Tabs(selected="compare")

    def opened(run_id: str | None) -> dict[Any, Any]:
        """The run in the tab where such runs are trained."""
        run = library.get(_needed(run_id))
        name, state = home_of(run)
        return {getattr(shared, state): run.run_id, shared.tabs: gr.Tabs(selected=name.lower())}

    def to_toxicity(run_id: str | None) -> tuple[str, Any]:
        """Asks the Toxicity tab for something with this run."""
        return library.get(_needed(run_id)).run_id, gr.Tabs(selected="toxicity")

    # Gradio draws an error over every output of a handler; here a toast shows it, so outputs stay as they are. What
    # takes long shows its progress on the lines that explain it.
    everything = [*listing, *panel]
    app.load(guarded(bases), None, base, **QUIET)
    when_opened(table, app, guarded(refresh), chosen, everything)
    table.select(guarded(pick), None, panel, **QUIET)
    title.submit(guarded(rename), [shared.visitor, chosen, title], everything, **QUIET)
    save_note.click(guarded(keep_note), [shared.visitor, chosen, note], panel, **QUIET)
    zips: dict[str, Any] = {"show_progress_on": about_zip, **PRIVATE}
    save_after(download.click(guarded(make_zip), [chosen, extras, strength], made, **FILES, **zips), made)
    save_after(merged.click(guarded(make_merged), [shared.visitor, chosen, strength], made, **FILES, **zips), made)
    delete.click(guarded(ask_delete), [shared.visitor, chosen], [sure_row, sure_text], **QUIET)
    sure.click(guarded(remove), [shared.visitor, chosen], everything, **QUIET)
    never_mind.click(lambda: gr.Column(visible=False), None, sure_row, **QUIET)
    for given in (file.change, path.blur, path.submit):
        given(guarded(offer), [shared.visitor, file, path], checkpoint, **QUIET)
    take.click(
        guarded(import_adapter),
        [shared.visitor, file, path, base, checkpoint],
        [*everything, file, path, checkpoint, report],
        show_progress_on=about_upload,
        **PRIVATE,
    )
    to_compare.click(guarded(compared), chosen, [shared.compare_run, shared.tabs], **QUIET)
    homes = [shared.align_run, shared.reward_run, shared.detox_run, shared.tabs]
    to_align.click(guarded(opened), chosen, homes, **QUIET)
    to_score.click(guarded(to_toxicity), chosen, [shared.evaluate_run, shared.tabs], **QUIET)
    to_detox.click(guarded(to_toxicity), chosen, [shared.detox_start, shared.tabs], **QUIET)


def _push_box(services: Services, shared: Shared, chosen: gr.State) -> None:
    with gr.Accordion("Push to the Hub", open=False):
        about = gr.Markdown(
            "Publishes the adapter, its card with the note, its recipe and curves; never the log or the training pairs.",
            elem_classes="quiet",
        )
        repo = gr.Textbox(label="Repository", placeholder="owner/name", max_lines=1)
        token = gr.Textbox(
            label="Write token (used once, never kept)", placeholder="hf_…", type="password", max_lines=1
        )
        private = gr.Checkbox(True, label="Private")
        push = gr.Button("Push", size="sm", elem_id="library-push")
        result = gr.Markdown()

    def publish(mark: Visitor, run_id: str | None, name: str, secret: str, hidden: bool) -> str:
        require_operator(mark, "publishing")
        url = services.library.push(_needed(run_id), name, secret, hidden)
        return f"Published {'privately' if hidden else 'for everybody'}: `{url.replace('`', '')}`"

    push.click(
        guarded(publish), [shared.visitor, chosen, repo, token, private], result, show_progress_on=about, **PRIVATE
    ).success(lambda: "", None, token, **QUIET)


def _needed(run_id: str | None) -> str:
    if run_id is None:
        raise NotFoundError("No adapter is open; click a line of the table first.")
    return run_id


def _find(services: Services, run_id: str | None) -> RunView | None:
    if run_id is None:
        return None
    try:
        return services.library.get(run_id)
    except StudioError:  # deleted from another page
        return None
