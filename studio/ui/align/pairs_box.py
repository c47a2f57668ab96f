"""Pairs made in the room: typed, taken from a dataset or (by Compare) from its answers, changed, and kept as a dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from studio.domain.data import PreferenceDataset
from studio.errors import InputError, NotFoundError
from studio.services import Services
from studio.services.data import own_pairs
from studio.services.data.datasets import counted
from studio.services.data.own_pairs import Draft, OwnPair
from studio.services.wording import counted as number_of
from studio.ui.page.access import OPERATORS_ROWS, Visitor, may_read_data, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.parts.html import parts
from studio.ui.training.form import dataset_choices

#: Steps that can be undone.
UNDO = 30


def build_pairs_box(
    services: Services, shared: Shared, app: gr.Blocks, dataset: gr.Dropdown, size: gr.components.Component
) -> None:
    """Draw the box; what is saved becomes the value of ``dataset``. ``size`` says how many pairs of it a draft begins with."""
    with gr.Accordion("Write pairs", open=False, elem_id="draft-box"):
        gr.Markdown(
            "Type pairs, begin with the data above, or press *Add to my pairs* in Compare. A draft stays in this browser.",
            elem_classes="quiet",
        )
        with gr.Row():
            begin = gr.Button("Start from this data", size="sm", elem_id="draft-begin")
            undo = gr.Button("Undo", size="sm", elem_id="draft-undo")
        table = gr.Dataframe(
            headers=["#", "Prompt", "Preferred", "Not preferred"],
            datatype=["number", "str", "str", "str"],
            interactive=False,
            wrap=True,
            max_height=260,
            column_widths=["40px", "130px", "150px", "150px"],
            label="Draft: click a row to change it",
            elem_id="draft-table",
        )
        prompt = gr.Textbox(label="Prompt", lines=1, max_lines=4, elem_id="draft-prompt")
        preferred = gr.Textbox(label="Preferred", lines=1, max_lines=6, elem_id="draft-preferred")
        rejected = gr.Textbox(label="Not preferred", lines=1, max_lines=6, elem_id="draft-rejected")
        with gr.Row():
            add = gr.Button("Add pair", size="sm", variant="secondary", elem_id="draft-add")
            change = gr.Button("Change row", size="sm", elem_id="draft-change")
            flip = gr.Button("Flip row", size="sm", elem_id="draft-flip")
            drop = gr.Button("Delete row", size="sm", elem_id="draft-drop")
        with gr.Row():
            title = gr.Textbox(label="Title", max_lines=1, scale=3, elem_id="draft-title")
            save = gr.Button("Save as data", size="sm", scale=1, elem_id="draft-save")
        report = gr.HTML(elem_id="draft-report")
    kept, row, past = shared.draft, gr.State(None), gr.State([])
    texts = [prompt, preferred, rejected]

    def shown(draft: Draft) -> list[list[Any]]:
        return [[number, pair.prompt, pair.preferred, pair.rejected] for number, pair in enumerate(draft, 1)]

    def edited(
        change_it: Callable[[Draft, int | None, OwnPair], Draft], clears: bool
    ) -> Callable[..., tuple[Any, ...]]:
        """What a button does: the draft before it can be had back; ``clears`` empties the fields."""

        def run(stored: Any, at: int | None, before: list[Any], *typed: str) -> tuple[Any, ...]:
            draft, like = own_pairs.restored(stored)
            made = change_it(draft, at, OwnPair(*(text or "" for text in typed)))
            fields = ("", "", "") if clears else (gr.skip(),) * 3
            return own_pairs.stored(made, like), [*before, stored][-UNDO:], None, *fields

        return run

    def start(before: list[Any], stored: Any, dataset_id: str | None, pairs: float | None) -> tuple[Any, ...]:
        data = services.datasets.get(dataset_id or "")
        if not may_read_data(services, data.id):
            raise InputError(OPERATORS_ROWS)
        draft, left_out = own_pairs.draft_of(data, int(pairs or 0))
        note = f"{number_of(left_out, 'pair')} with earlier turns or very long texts left out." if left_out else ""
        made = own_pairs.stored(draft, data.id)
        return (
            made,
            [*before, stored][-UNDO:],
            None,
            f"{data.title}, my version",
            parts.report("", [note] if note else []),
        )

    def back(before: list[Any]) -> tuple[Any, ...]:
        if not before:
            raise InputError("There is nothing to undo.")
        return before[-1], before[:-1], None

    def pick(stored: Any, event: gr.SelectData) -> tuple[Any, ...]:
        draft, _ = own_pairs.restored(stored)
        at = int(event.index[0])
        if at >= len(draft):
            return None, gr.skip(), gr.skip(), gr.skip()
        return at, draft[at].prompt, draft[at].preferred, draft[at].rejected

    def keep(mark: Visitor, stored: Any, name: str | None) -> tuple[Any, str]:
        require_operator(mark, "saving data")
        draft, like = own_pairs.restored(stored)
        data = services.datasets.keep(own_pairs.as_dataset(draft, name or "", _dataset(services, like)))
        line = f"Saved {data.title}: {counted(data)}. It is chosen above; the draft stays here."
        return gr.Dropdown(choices=dataset_choices(services, rated=True), value=data.id), parts.report(line, [])

    moved = [kept, past, row]
    for button, change_it, clears in (
        (add, lambda draft, at, pair: own_pairs.added(draft, pair), True),
        (change, own_pairs.changed, False),
        (flip, lambda draft, at, pair: own_pairs.flipped(draft, at), True),
        (drop, lambda draft, at, pair: own_pairs.dropped(draft, at), True),
    ):
        button.click(guarded(edited(change_it, clears)), [kept, row, past, *texts], [*moved, *texts], **QUIET)
    begin.click(guarded(start), [past, kept, dataset, size], [*moved, title, report], **QUIET)
    undo.click(guarded(back), past, moved, **QUIET)
    table.select(guarded(pick), kept, [row, *texts], **QUIET)
    save.click(guarded(keep), [shared.visitor, kept, title], [dataset, report], **PRIVATE)
    gr.on([app.load, kept.change], lambda stored: shown(own_pairs.restored(stored)[0]), kept, table, **QUIET)


def _dataset(services: Services, dataset_id: str) -> PreferenceDataset | None:
    """What a draft began with; None where that is gone."""
    try:
        return services.datasets.get(dataset_id) if dataset_id else None
    except NotFoundError:
        return None
