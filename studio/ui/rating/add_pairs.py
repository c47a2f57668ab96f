"""Adding pairs, in the Rate tab: a batch answered in the background, and comparison data from a file or the Hub.

The batch lives in the service: the page polls it while the Rate tab is open, so that a refresh, or another page, finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup

from studio.domain.chat import BASE, Sampling
from studio.errors import InputError
from studio.services import Services
from studio.services.data.row_reader import ReadOptions
from studio.services.rating.pair_batches import MAX_QUESTIONS, BatchForm, BatchStatus, Question
from studio.services.rating.pair_sources import ImportedPairs
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.changes import BATCH, when_changed
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import IDLE_S, LIVE_S, PRIVATE, QUIET, Shared
from studio.ui.parts.html import Macros
from studio.ui.parts.import_reading import (
    PREVIEW_ROWS,
    Preview,
    bind_reading,
    build_reading,
    first_row,
    read_options,
)

_HTML = Macros("rating/add_pairs.html")

#: The choice of prompts that means "those typed here".
LINES = "lines"
#: Reasons listed in the report of an import; the count tells of the others.
REASONS = 20
#: Of these shown at once; the others unfold.
FIRST = 3
#: The answers of the first pair, in no order: what the data prefers is shown to nobody.
_ANSWERS = ("One answer", "Another")
_SOURCES = (("compare", "from Compare"), ("batch", "from batches"), ("import", "imported"))
_ENDED = {
    "cancelling": "Cancelling…",
    "done": "Done.",
    "cancelled": "Cancelled; what was made is kept.",
    "interrupted": "Unfinished: the server ended. What was made is kept; Resume goes on from there.",
}


def build_pairs_box(services: Services, shared: Shared, room: gr.State, app: gr.Blocks) -> None:
    """Draw the section and bind its events; pairs go into the room whose code ``room`` holds."""
    sources = services.sources
    with gr.Accordion("Add pairs", open=False, elem_id="pairs-box"):
        counts = gr.HTML(elem_id="pairs-counts")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=310):
                gr.Markdown(
                    "#### Make a batch\nEvery prompt is answered twice, by two models or by one, in the background."
                )
                prompts = gr.Dropdown(
                    [("Prompts typed here", LINES)], value=LINES, label="Prompts", elem_id="batch-prompts"
                )
                lines = gr.Textbox(
                    label="Prompts, one a line",
                    lines=3,
                    max_lines=10,
                    placeholder="Should anime be turned into live action?",
                    elem_id="batch-lines",
                )
                with gr.Row():
                    first = gr.Dropdown(
                        [("Base model", BASE)], value=BASE, label="One answer by", min_width=230, elem_id="batch-first"
                    )
                    second = gr.Dropdown(
                        [("Base model", BASE)],
                        value=BASE,
                        label="The other by",
                        info="The same again: two samples with different seeds.",
                        min_width=230,
                        elem_id="batch-second",
                    )
                with gr.Row():
                    most = gr.Number(
                        20,
                        label="Prompts at most",
                        precision=0,
                        minimum=1,
                        maximum=MAX_QUESTIONS,
                        min_width=100,
                        elem_id="batch-most",
                    )
                    seed = gr.Number(1, label="Seed", precision=0, minimum=0, min_width=100, elem_id="batch-seed")
                with gr.Row():
                    temperature = gr.Slider(
                        0, 2, value=0.8, step=0.05, label="Temperature", min_width=150, elem_id="batch-temperature"
                    )
                    tokens = gr.Slider(
                        8, 1024, value=128, step=8, label="Max tokens", min_width=150, elem_id="batch-tokens"
                    )
                system = gr.Textbox(
                    label="System prompt",
                    placeholder="none",
                    info="The same for both. Choosing an adapter sets the one it was trained with.",
                    max_lines=4,
                    elem_id="batch-system",
                )
                with gr.Row():
                    start = gr.Button("Make pairs", variant="primary", size="sm", min_width=90, elem_id="batch-start")
                    cancel = gr.Button(
                        "Cancel", variant="stop", size="sm", min_width=90, interactive=False, elem_id="batch-cancel"
                    )
                    resume = gr.Button("Resume", size="sm", min_width=90, visible=False, elem_id="batch-resume")
                bar = gr.HTML(elem_id="batch-bar")
            with gr.Column(scale=2, min_width=310):
                about = gr.Markdown(
                    "#### Import comparison data\n`instruction, response-1, response-2`, or pairs in any shape that training "
                    "takes. Original labels are hidden from raters."
                )
                file = gr.File(label="Comparison data", type="filepath", height=120, elem_id="pairs-file")
                hub = gr.Textbox(
                    label="…or a dataset id on the Hub",
                    placeholder="owner/name, then Enter",
                    max_lines=1,
                    elem_id="pairs-hub",
                )
                with gr.Row():
                    split = gr.Textbox("train", label="Split", max_lines=1, min_width=100, elem_id="pairs-split")
                    limit = gr.Number(0, label="Rows at most", info="0: all.", precision=0, minimum=0, min_width=100)
                reading = build_reading("pairs", skip=False)
                take = gr.Button("Import", size="sm", elem_id="pairs-import")
                report = gr.HTML(elem_id="pairs-report")
    drawn = gr.State(None)
    timer = gr.Timer(IDLE_S)
    batch = [bar, start, cancel, resume, drawn, timer]

    def progress(status: BatchStatus) -> dict[Any, Any]:
        return {
            bar: batch_html(status),
            start: gr.Button(interactive=not status.busy),
            cancel: gr.Button(interactive=status.state == "running"),
            resume: gr.Button(visible=status.resumable),
            drawn: status,
            timer: gr.Timer(LIVE_S if status.busy else IDLE_S),
        }

    def look(before: BatchStatus | None, code: str) -> dict[Any, Any]:
        status = sources.batch_status()
        if before is None or status == before:  # nothing stands there yet, or nothing is new
            return {drawn: gr.skip()}
        return {**progress(status), counts: counts_html(sources.counts(code))}

    def opened(
        before: BatchStatus | None, code: str, chosen: str | None, one: str | None, two: str | None
    ) -> dict[Any, Any]:
        """What may be chosen is looked up anew, and what was chosen stays; at first it is the newest adapter against the
        base."""
        offered = [(f"{source.title} ({source.n})", source.id) for source in sources.prompt_sources()]
        offered.append(("Prompts typed here", LINES))
        sides = [(choice.label, choice.id) for choice in services.compare.panes()]
        ids = [value for _, value in sides]
        fresh = before is None or one not in ids or two not in ids
        one, two = (BASE, ids[min(1, len(ids) - 1)]) if fresh else (one, two)
        listed = [value for _, value in offered]
        now = chosen if before is not None and chosen in listed else listed[0]
        return {
            prompts: gr.Dropdown(choices=offered, value=now),
            lines: gr.Textbox(visible=now == LINES),
            first: gr.Dropdown(choices=sides, value=one),
            second: gr.Dropdown(choices=sides, value=two),
            counts: counts_html(sources.counts(code)),
            **progress(sources.batch_status()),
        }

    def system_prompt(one: str, two: str) -> str:
        """The system prompt that an adapter among the two was trained with."""
        trained = {choice.id: choice.system_prompt for choice in services.compare.panes()}
        return trained.get(two) or trained.get(one) or ""

    def make(
        mark: Visitor, code: str, chosen: str, typed: str | None, one: str, two: str, count: float | None, heat: float,
        room: float, number: float | None, prompt: str | None,
    ) -> dict[Any, Any]:  # fmt: skip
        require_operator(mark, "making pairs to rate")
        questions = (
            tuple(Question(line.strip()) for line in dict.fromkeys((typed or "").splitlines()) if line.strip())
            if chosen == LINES
            else sources.questions(chosen)
        )
        if not count or count < 1:
            raise InputError("Prompts at most is empty; it must be at least 1.")
        sampling = Sampling(temperature=float(heat), max_new_tokens=int(room), seed=int(number or 0))
        sources.start_batch(BatchForm(questions[: int(count)], one, two, sampling, (prompt or "").strip(), room=code))
        return progress(sources.batch_status())

    def halt(mark: Visitor) -> dict[Any, Any]:
        require_operator(mark, "ending a batch")
        sources.cancel_batch()
        return progress(sources.batch_status())

    def go_on(mark: Visitor) -> dict[Any, Any]:
        require_operator(mark, "making pairs to rate")
        sources.resume_batch()
        return progress(sources.batch_status())

    def bring(
        mark: Visitor,
        code: str,
        path: str | None,
        dataset: str | None,
        part: str | None,
        most: float | None,
        *values: Any,
    ) -> Any:
        require_operator(mark, "importing")
        name = (dataset or "").strip()
        if not path and not name:
            raise InputError("There is nothing to import; choose a file or type a Hub id.")
        how = read_options(values)
        done = (
            sources.import_file(path, how, code)
            if path
            else sources.import_hub(name, (part or "").strip() or "train", int(most) if most else None, how, code)
        )
        return report_html(done), counts_html(sources.counts(code))

    def look_into(path: str, hub_id: str, part: str, how: ReadOptions) -> Preview:
        seen = sources.preview_file(path, how) if path else sources.preview_hub(hub_id, part, PREVIEW_ROWS, how)
        first = seen.comparisons.pairs[:1]
        row = first_row(first[0].history, first[0].prompt, ()) if first else ()
        answers = [
            (name, text)
            for pair in first
            for name, text in zip(_ANSWERS, sorted((pair.answer_a, pair.answer_b)), strict=True)
        ]
        return Preview(
            str(seen),
            (*row, *answers),
            (*seen.comparisons.skipped[:FIRST], *seen.comparisons.warnings),
            (),
            seen.fields,
        )

    bind_reading(reading, shared, file, hub, split, look_into)

    def take_finished(run_id: str | None) -> tuple[Any, Any]:
        """The run that has just ended is what people want to rate, against the base."""
        if run_id is None:
            return gr.skip(), gr.skip()
        sides = [(choice.label, choice.id) for choice in services.compare.panes()]
        return gr.Dropdown(choices=sides, value=BASE), gr.Dropdown(choices=sides, value=run_id)

    shared.finished_run.change(guarded(take_finished), shared.finished_run, [first, second], **QUIET)

    # a toast says what went wrong; on a button a failure covers nothing
    quiet: dict[str, Any] = {"show_progress_on": start, **QUIET}
    sides = [first, second]
    timer.tick(guarded(look), [drawn, room], [*batch, counts], **quiet, concurrency_limit=None)
    when_changed(BATCH, guarded(look), [drawn, room], [*batch, counts], **quiet)
    room.change(guarded(lambda code: counts_html(sources.counts(code))), room, counts, **quiet)
    when_opened(
        timer, app, guarded(opened), [drawn, room, prompts, *sides], [prompts, lines, *sides, counts, *batch], **quiet
    )
    prompts.change(lambda chosen: gr.Textbox(visible=chosen == LINES), prompts, lines, queue=False, **quiet)
    gr.on([first.change, second.change], guarded(system_prompt), sides, system, **quiet)
    form = [prompts, lines, *sides, most, temperature, tokens, seed, system]
    start.click(guarded(make), [shared.visitor, room, *form], batch, **quiet)
    cancel.click(guarded(halt), shared.visitor, batch, **quiet)
    resume.click(guarded(go_on), shared.visitor, batch, **quiet)
    take.click(
        guarded(bring),
        [shared.visitor, room, file, hub, split, limit, *reading.values],
        [report, counts],
        show_progress_on=about,
        **PRIVATE,
    )


def counts_html(counts: Mapping[Any, int]) -> Markup:
    """How many pairs there are, by where they came from."""
    return _HTML.counts(sum(counts.values()), [(counts.get(source, 0), name) for source, name in _SOURCES])


def batch_html(status: BatchStatus) -> str:
    """The bar of a batch, what came of it so far, and how it ended."""
    if status.state == "idle":
        return ""
    share = status.done / status.total if status.total else 0.0
    made = f"{status.done:,} of {status.total:,} prompts", f"{status.added:,} pairs added"
    left_out = _left_out(
        (status.known, "known already"), (status.identical, "with identical answers"), (status.unusable, "empty")
    )
    return _HTML.batch(status, share, (*made, *left_out, _ENDED.get(status.state) or status.note))


def report_html(done: ImportedPairs) -> Markup:
    """What became of every row of an import."""
    skipped, more = done.skipped, len(done.skipped) - REASONS
    left_out = _left_out(
        (done.known, "known already"), (done.identical, "with identical answers"), (len(skipped), "skipped")
    )
    counts = f"{', '.join([f'{done.rows:,} rows read: {done.added:,} pairs added', *left_out])}."
    folded = [*skipped[FIRST:REASONS], *([f"… and {more:,} more"] if more > 0 else [])]
    return _HTML.report(counts, (*skipped[:FIRST], *done.warnings), folded, len(skipped) - FIRST)


def _left_out(*counts: tuple[int, str]) -> list[str]:
    return [f"{number:,} {reason}" for number, reason in counts if number]
