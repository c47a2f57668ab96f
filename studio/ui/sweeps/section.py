"""The Sweep section: choose what varies, start, follow, stop, resume, read the curve."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from studio.domain.sweeps import Axis
from studio.errors import InputError, NotFoundError
from studio.i18n import Named
from studio.services import Services
from studio.services.align.form import AlignForm
from studio.services.sweeps.plan import SweepForm, robust_beside_plain, seeds_from
from studio.services.sweeps.result import NAMES, csv_file, json_file
from studio.services.sweeps.service import SweepView
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.changes import marked, seen_in
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import IDLE_S, LIVE_S, POLLED, PRIVATE, QUIET, Shared
from studio.ui.parts.downloads import save_after, served
from studio.ui.parts.live_chart import build_live_chart
from studio.ui.sweeps import view as show
from studio.ui.sweeps.charts import HEIGHT, sweep_figure

_IMAGE = """() => {
  const chart = document.querySelector("#sweep-chart .js-plotly-plot");
  if (chart) Plotly.downloadImage(chart, {format: "%s", filename: "sweep", width: 960, height: 540, scale: 2});
}"""


#: What a page was told last of a sweep, by part, so that a look that changes nothing draws nothing.
Shown = dict[str, Any]


def build_sweep_section(
    services: Services,
    shared: Shared,
    app: gr.Blocks,
    form: Sequence[Any],
    form_from: Callable[..., AlignForm],
) -> None:
    """Draw the section and bind its events. ``form`` are the widgets of the Align form, of whose values ``form_from`` makes one."""
    with gr.Accordion("Sweep: one thing varied over many runs", open=False, elem_id="sweep-box"):
        gr.HTML(show.about())
        with gr.Row():
            varied = gr.Dropdown(
                [(name, axis) for axis, name in NAMES.items()],
                value="ratio",
                label="Vary",
                min_width=140,
                elem_id="sweep-varied",
            )
            values = gr.Textbox(
                show.EXAMPLES["ratio"], label="Values", max_lines=1, scale=2, min_width=200, elem_id="sweep-values"
            )
            seeds = gr.Number(1, label="Seeds", precision=0, minimum=1, min_width=90, elem_id="sweep-seeds")
        with gr.Row():
            start = gr.Button("Start the sweep", variant="primary", size="sm", min_width=140, elem_id="sweep-start")
            robust = gr.Button("Robust beside plain", size="sm", min_width=150, elem_id="sweep-robust")
        gr.Markdown(
            "*Robust beside plain* flips 30 % of the labels on purpose and trains plain DPO (`sigmoid`), `robust` told of the 30 %, and `ipo`.",
            elem_classes="quiet",
        )
        chosen = gr.Dropdown([], label="Sweep", elem_id="sweep-chosen")
        with gr.Row():
            stop = gr.Button("Stop all and keep", size="sm", interactive=False, elem_id="sweep-stop")
            resume = gr.Button("Resume", size="sm", interactive=False, elem_id="sweep-resume")
            blend = gr.Button("Measure the blend", size="sm", interactive=False, elem_id="sweep-blend")
        head = gr.HTML(show.empty(), elem_id="sweep-head")
        with gr.Column(visible=False) as details:
            chart = build_live_chart("sweep-chart", HEIGHT)
            with gr.Row():
                as_csv, as_json = (
                    gr.Button(f"Download {kind.upper()}", size="sm", min_width=90, elem_id=f"sweep-{kind}")
                    for kind in ("csv", "json")
                )
                pictures = [
                    (gr.Button(f"Save {kind.upper()}", size="sm", min_width=90, elem_id=f"sweep-{kind}"), kind)
                    for kind in ("png", "svg")
                ]
                made = gr.DownloadButton("Download again", visible=False, size="sm", elem_id="sweep-file")
            question = gr.Dropdown([], label="The same question at every value", elem_id="sweep-question")
            answers = gr.HTML(elem_id="sweep-answers")
            table = gr.Dataframe(
                headers=list(show.HEADERS),
                datatype="str",
                interactive=False,
                wrap=False,
                column_widths=list(show.WIDTHS),
                max_height=320,
                show_row_numbers=False,
                label="Click a line to open the run",
                elem_id="sweep-runs",
            )
    shown, timer, seen = gr.State({}), gr.Timer(IDLE_S), gr.Textbox(visible=False)
    buttons = [stop, resume, blend]
    outputs = [shown, chosen, head, details, chart.chart, question, answers, table, *buttons, timer]

    def look(state: Shown, sweep_id: str | None, prompt: str | None, there: str | None = None) -> dict[Any, Any]:
        """What changed of the chosen sweep since the last look; all of it where the page shows something else (``there``)."""
        if not sweep_id:
            return {head: gr.skip()}
        if there is not None and there != _token(state):
            state = {}
        view = services.sweeps.get(sweep_id)
        samples = [services.runs.samples(run.run_id) if run else [] for run in view.runs]
        asked = list(dict.fromkeys(s.prompt for one in samples for s in one))
        prompt = prompt if prompt in asked else next(iter(asked), "")
        figure, note = sweep_figure(view), services.blends.state(sweep_id)
        now: Shown = {
            "head": str(show.head(view, note)),
            "rows": [show.row(view, planned, run) for planned, run in view.pairs()],
            "chart": figure.to_json() if figure is not None else "",
            "answers": str(show.small_multiples(view, samples, prompt)) if prompt else "",
        }
        if now == state:
            return {head: gr.skip()}
        updates: dict[Any, Any] = {
            shown: now,
            head: marked(now["head"], _token(now)),
            details: gr.Column(visible=True),
            stop: gr.Button(interactive=view.moving or services.blends.measuring(sweep_id)),
            resume: gr.Button(interactive=view.resumable),
            blend: gr.Button(interactive=not view.moving and view.sweep.axis == "ratio"),
            timer: gr.Timer(2 * LIVE_S if view.moving or note else IDLE_S),
        }
        if now["rows"] != state.get("rows"):
            updates[table] = now["rows"]
        if now["chart"] != state.get("chart"):
            updates |= chart.show(figure)
        if now["answers"] != state.get("answers"):
            updates |= {answers: now["answers"], question: gr.Dropdown(choices=asked, value=prompt or None)}
        return updates

    def open_sweep(sweep_id: str | None) -> dict[Any, Any]:
        return {chosen: gr.Dropdown(choices=choices(services), value=sweep_id)} | look({}, sweep_id, None)

    def attach(state: Shown, sweep_id: str | None, prompt: str | None) -> dict[Any, Any]:
        offered = choices(services)
        here = sweep_id if sweep_id in {one for _, one in offered} else next((one for _, one in offered), None)
        try:
            return {chosen: gr.Dropdown(choices=offered, value=here)} | look(state, here, prompt)
        except NotFoundError:  # its last run was deleted a moment ago
            return {head: show.empty()}

    def begin(
        mark: Visitor,
        axis: Axis,
        listed: str,
        count: float | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
        *form_values: Any,
    ) -> dict[Any, Any]:
        require_operator(mark, "training")
        align = form_from(*form_values)
        asked = sweep_form(align, axis, listed, seeds_from(align.settings.seed, int(count or 1)))
        return open_sweep(services.sweeps.start(asked, lambda share, text: progress(share, desc=text)))

    def begin_robust(
        mark: Visitor,
        count: float | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
        *form_values: Any,
    ) -> dict[Any, Any]:
        require_operator(mark, "training")
        align = form_from(*form_values)
        asked = robust_beside_plain(align, seeds_from(align.settings.seed, int(count or 1)))
        return open_sweep(services.sweeps.start(asked, lambda share, text: progress(share, desc=text)))

    def act(what: Callable[[str], None], action: str) -> Callable[..., dict[Any, Any]]:
        def press(mark: Visitor, state: Shown, sweep_id: str | None, prompt: str | None) -> dict[Any, Any]:
            require_operator(mark, action)
            what(_chosen(sweep_id))
            return look(state, sweep_id, prompt)

        return press

    def halt(sweep_id: str) -> None:
        if not services.blends.cancel(sweep_id) or services.sweeps.get(sweep_id).moving:
            services.sweeps.stop(sweep_id)

    def download(make: Callable[[SweepView], bytes], kind: str) -> Callable[[str | None], Any]:
        def press(sweep_id: str | None) -> Any:
            view = services.sweeps.get(_chosen(sweep_id))
            name = f"{view.sweep.id}-{time.strftime('%Y-%m-%d')}.{kind}"
            return gr.DownloadButton("Download again", value=served(make(view), name), visible=True)

        return press

    here = [shown, chosen, question]
    varied.input(lambda axis: show.EXAMPLES[axis], varied, values, **QUIET)
    when_opened(timer, app, guarded(attach), here, outputs)
    timer.tick(guarded(look), [*here, seen], outputs, **seen_in("sweep-head"), **POLLED)
    chosen.input(guarded(open_sweep), chosen, outputs, **QUIET)
    question.input(guarded(look), here, outputs, **QUIET)
    start.click(
        guarded(begin), [shared.visitor, varied, values, seeds, *form], outputs, show_progress_on=head, **PRIVATE
    )
    robust.click(guarded(begin_robust), [shared.visitor, seeds, *form], outputs, show_progress_on=head, **PRIVATE)
    for button, what, action in (
        (stop, halt, "stopping runs"),
        (resume, services.sweeps.resume, "resuming runs"),
        (blend, services.blends.start, "measuring"),
    ):
        button.click(guarded(act(what, action)), [shared.visitor, *here], outputs, **QUIET)
    for button, make, kind in ((as_csv, csv_file, "csv"), (as_json, json_file, "json")):
        save_after(button.click(guarded(download(make, kind)), chosen, made, **PRIVATE), made)
    for button, kind in pictures:
        button.click(None, None, None, js=_IMAGE % kind, **PRIVATE)
    table.select(guarded(_picked), None, shared.align_run, **QUIET)


def _token(shown: Shown) -> str:
    return hashlib.sha256(repr(sorted(shown.items())).encode()).hexdigest()[:12] if shown else ""


def choices(services: Services) -> list[tuple[str, str]]:
    """(label, id) of the sweeps, newest first."""
    return [
        (Named(sweep.title, sweep.base, time.strftime("%Y-%m-%d %H:%M", time.localtime(sweep.created))), sweep.id)
        for sweep in services.sweeps.list()
    ]


def sweep_form(align: AlignForm, axis: str, listed: str, seeds: tuple[int, ...]) -> SweepForm:
    """The sweep of one list of values, separated by commas.

    Raises:
        InputError: there is no such axis, or a value is not of its kind.
    """
    texts = [text.strip() for text in (listed or "").replace("，", ",").split(",") if text.strip()]
    if axis not in NAMES:
        raise InputError(f"What is varied is {axis!r}; it must be one of {', '.join(NAMES)}.")
    if axis == "loss":
        return SweepForm(align, losses=tuple(texts), seeds=seeds)
    try:
        values = [float(text) for text in texts]
    except ValueError:
        raise InputError(f"Values: {listed[:60]!r} must be numbers, separated by commas.") from None
    if not all(map(math.isfinite, values)) or (axis == "data_size" and not all(one.is_integer() for one in values)):
        raise InputError(f"Values: {listed[:60]!r} must be {'whole ' if axis == 'data_size' else ''}numbers.")
    if axis == "data_size":
        return SweepForm(align, data_sizes=tuple(map(int, values)), seeds=seeds)
    return (
        SweepForm(align, ratios=tuple(values), seeds=seeds)
        if axis == "ratio"
        else SweepForm(align, betas=tuple(values), seeds=seeds)
    )


def _chosen(sweep_id: str | None) -> str:
    if not sweep_id:
        raise InputError("No sweep is chosen; start one, or choose one under Sweep.")
    return sweep_id


def _picked(event: gr.SelectData) -> str:
    return str(event.row_value[-1])
