"""*All test prompts*: every prompt of a list answered by the base and by one adapter, as a table to read and to keep."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from studio.domain.chat import BASE, Sampling
from studio.errors import InputError, NotFoundError, StudioError
from studio.i18n import Named
from studio.services import Services
from studio.services.compare.table import ADAPTER_KEY, BASE_KEY, TableProgress, table_records
from studio.services.data.prompts import MAX_PROMPTS, bounded_prompts
from studio.services.files.tables import BOM, csv_text
from studio.services.pages.comparison import Comparison, comparison_page, moved_in
from studio.ui.compare import kept_table
from studio.ui.compare.kept_table import KeptTable
from studio.ui.compare.panes.draw_many import tally_html
from studio.ui.compare.panes.widgets import AskWidgets
from studio.ui.page.guard import guarded
from studio.ui.page.lines import MODEL, TABLE
from studio.ui.page.live import Live
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.parts.downloads import save_after, served
from studio.ui.parts.html import Macros

_HTML = Macros("compare/prompt_table.html")

#: The choice of prompts that means "those the run's own data brought along".
OWN = "own"
KEYS = ("id", "prompt", BASE_KEY, ADAPTER_KEY)


def build_prompt_table(services: Services, shared: Shared, app: gr.Blocks, form: AskWidgets) -> None:
    """Draw the section and bind its events. Sampling settings are those of the chat above (``form``)."""
    job = gr.State(Live())
    gr.Markdown(
        "## All test prompts\n<details class='fold'><summary>Base and adapter answer every prompt of a list</summary>Before and after "
        "are paired by prompt and seed, with the system prompt the adapter was trained with and the sampling set above. A column's ⋮ "
        "menu sorts and filters.</details>"
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=280):
            source = gr.Dropdown(
                [("The adapter's test prompts", OWN)], value=OWN, label="Prompts", elem_id="table-source"
            )
            run = gr.Dropdown([], label="Adapter", elem_id="table-run")
        with gr.Column(scale=2, min_width=240):
            file = gr.File(
                label="…or a file of prompts",
                type="filepath",
                height=150,
                elem_id="table-file",
            )
    with gr.Row():
        start = gr.Button("Run", variant="primary", size="sm", min_width=90, elem_id="table-start")
        cancel = gr.Button("Cancel", variant="stop", size="sm", min_width=90, interactive=False, elem_id="table-cancel")
        as_csv = gr.DownloadButton("Download CSV", size="sm", min_width=90, interactive=False, elem_id="table-csv")
        as_json = gr.DownloadButton("Download JSON", size="sm", min_width=90, interactive=False, elem_id="table-json")
        as_page = gr.Button("Save page", size="sm", min_width=90, interactive=False, elem_id="table-page")
    page_file = gr.DownloadButton("Download again", visible=False, size="sm", elem_id="table-page-file")
    bar = gr.HTML(elem_id="table-progress")
    table = gr.Dataframe(
        headers=["id", "prompt", "before (base)", "after (adapter)"],
        datatype=["number", "str", "str", "str"],
        interactive=False,
        wrap=True,
        max_height=560,
        column_widths=["56px", "26%", "35%", "35%"],
        show_label=False,
        buttons=["fullscreen", "copy"],
        visible=False,
        elem_id="prompt-table",
    )

    def offer(chosen_source: str | None, chosen_run: str | None, requested: str | None = None) -> tuple[Any, Any]:
        """Choices as they are now; what was chosen stays where it is still there, ``requested`` goes before it."""
        runs = [(choice.label, choice.id) for choice in services.compare.panes() if choice.run_id]
        ids = [value for _, value in runs]
        run_now = next((value for value in (requested, chosen_run) if value in ids), ids[0] if ids else None)
        sources = [("The adapter's test prompts", OWN)]
        sources += [
            (Named(f"{info.title} ({info.n_test})"), info.id) for info in services.datasets.list() if info.n_test
        ]
        kept = chosen_source if chosen_source in {value for _, value in sources} else OWN
        return gr.Dropdown(choices=sources, value=kept), gr.Dropdown(choices=runs, value=run_now)

    def fill(
        page: Live, chosen: str, run_id: str | None, path: str | None, temperature: float, top_p: float,
        tokens: float, seed: float | None,
    ) -> Iterator[dict[Any, Any]]:  # fmt: skip
        if not run_id:
            raise NotFoundError("There is no adapter to compare with the base yet; train one first.")
        recipe = services.runs.get(run_id).recipe
        prompts, ids = _prompts(services, chosen, run_id, path)
        sampling = Sampling(float(temperature), float(top_p), int(tokens), int(seed or 0))
        made = KeptTable(run_id, sampling, TableProgress((BASE, run_id), 0, len(prompts), (), False))
        with page.working() as stop:
            try:
                for progress in services.compare.table(
                    prompts, (BASE, run_id), sampling, recipe.system_prompt, stop, base=recipe.base.id, ids=ids
                ):
                    made = replace(made, progress=progress)
                    yield shown(made) | {start: gr.Button(interactive=False), cancel: gr.Button(interactive=True)}
                yield shown(made) | files(made) | idle() | {shared.table: kept_table.store(made)}
            except Exception:
                yield idle()
                raise

    def reopen(stored: Any) -> dict[Any, Any]:
        """The table this browser made last, after a refresh."""
        made = kept_table.restore(stored)
        return {bar: gr.skip()} if made is None else shown(made) | files(made)

    def shown(made: KeptTable) -> dict[Any, Any]:
        progress = made.progress
        # numbers sort as numbers; names such as "q-7" or "007" stay as they were written
        counted = all(row.id.isascii() and row.id.isdigit() and str(int(row.id)) == row.id for row in progress.rows)
        rows = [[int(row.id) if counted else row.id, row.prompt, *row.answers] for row in progress.rows]
        kinds: list[Any] = ["number" if counted else "str", "str", "str", "str"]
        return {
            bar: progress_html(made) + tally_html(services, progress),
            table: gr.Dataframe(value=rows, datatype=kinds, visible=bool(rows)),
        }

    def files(made: KeptTable) -> dict[Any, Any]:
        if not made.progress.rows:
            return {}
        records = table_records(made.progress)
        updates: dict[Any, Any] = {as_page: gr.Button(interactive=True)}
        for button, kind, text in ((as_csv, "csv", BOM + to_csv(records)), (as_json, "json", to_json(records))):
            path = served(text.encode(), f"before-after-{file_name(made.run_id)}.{kind}")
            updates[button] = gr.DownloadButton(value=path, interactive=True)
        return updates

    def write_page(stored: Any) -> Any:
        """The table as one file, with the words that moved where they can be had."""
        made = kept_table.restore(stored)
        if made is None:
            raise NotFoundError("There is no table yet, or it is too long to be kept; run the prompts first.")
        run = services.runs.get(made.run_id)
        rows = made.progress.rows
        table = Comparison(f"Base against {run.title}", ("Base", run.title), rows, made.facts(run.recipe))
        try:
            words = moved_in(services.compare, services.runs, made.run_id, rows)
        except StudioError as error:  # a server that tells no log-probabilities, a base that is gone: the answers stay
            gr.Warning(f"The page has no words that moved: {escape(str(error), quote=False)}")
            words = []
        sides = zip(table.names, services.draws.tally(made.progress), strict=False)
        shares = [(name, pane.support, len(pane.answers)) for name, pane in sides]
        path = served(comparison_page(table, words, shares).encode(), f"before-after-{file_name(made.run_id)}.html")
        return gr.DownloadButton(value=path, visible=True)

    def idle() -> dict[Any, Any]:
        return {start: gr.Button(interactive=True), cancel: gr.Button(interactive=False)}

    def halt(page: Live) -> None:
        page.stop()

    # on a button a failure covers nothing; a toast says what went wrong
    quiet: dict[str, Any] = {"show_progress_on": start, **QUIET}
    sampling = [form.temperature, form.top_p, form.max_tokens, form.seed]
    start.click(
        guarded(fill),
        [job, source, run, file, *sampling],
        [bar, table, start, cancel, as_csv, as_json, as_page, shared.table],
        **TABLE,
        **quiet,
    )
    save_after(
        as_page.click(
            guarded(write_page),
            shared.table,
            page_file,
            show_progress_on=as_page,
            trigger_mode="once",
            **MODEL,
            **PRIVATE,
        ),
        page_file,
    )
    cancel.click(guarded(halt), job, None, queue=False, **quiet)
    app.load(guarded(reopen), shared.table, [bar, table, as_csv, as_json, as_page], **quiet)
    app.load(guarded(offer), [source, run], [source, run], **quiet)
    shared.compare_visit.change(guarded(offer), [source, run], [source, run], **quiet)
    shared.compare_run.change(guarded(offer), [source, run, shared.compare_run], [source, run], **quiet)


def progress_html(made: KeptTable) -> Markup:
    """The bar above the table, and below it which adapter answered and how."""
    progress = made.progress
    share = progress.done / progress.total if progress.total else 0.0
    done = f"{progress.done} of {progress.total} prompts answered by both"
    return _HTML.progress(share, (done, progress.note, made.made_with))


def file_name(run_id: str) -> str:
    """``run_id`` as part of a file's name; one that a browser gave back may hold anything."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", run_id)[:80]


def to_csv(records: list[dict[str, str]]) -> str:
    """The records with a header line of :data:`KEYS`; what a spreadsheet would run as a formula is defused."""
    return csv_text(KEYS, records)


def to_json(records: list[dict[str, str]]) -> str:
    """The records as a JSON list, Chinese readable."""
    return json.dumps(records, ensure_ascii=False, indent=2) + "\n"


def _prompts(services: Services, chosen: str, run_id: str, path: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The prompts and the ids their file gives them; no ids where they are to be numbered."""
    ids: tuple[str, ...] = ()
    if path:
        read = bounded_prompts(Path(path), of_visitor=True)
        prompts, ids = read.prompts, read.ids
    elif chosen == OWN:
        prompts = services.compare.test_prompts(run_id)
    else:
        data = services.datasets.get(chosen)
        prompts = data.test_prompts or tuple(pair.prompt for pair in data.heldout)
    if len(prompts) > MAX_PROMPTS:
        raise InputError(f"These are {len(prompts):,} prompts; a table takes {MAX_PROMPTS:,}.")
    return prompts, ids
