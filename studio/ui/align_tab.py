"""The Align tab: set the dial, see exactly what will be trained on, train, watch, read the result, keep a history.

The page never owns a run: buttons write to the run folder through the services, a timer reads it back, and page load
re-attaches to whatever is running. Closing or refreshing the page changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from studio.domain import FINAL_STATES, ProbeEvent, SampleEvent, StepEvent
from studio.errors import NotFoundError
from studio.services import Services
from studio.services.reading import read_curve
from studio.services.run_events import Event, in_force
from studio.services.runs import RunView
from studio.ui import run_view
from studio.ui.access import Visitor, require_operator
from studio.ui.align_form import (
    PREVIEW_HEADERS,
    build_form,
    choices,
    form_from,
    preset_values,
    preview_rows,
    recipe_knobs,
)
from studio.ui.charts import Curve, training_figure
from studio.ui.guard import guarded
from studio.ui.shared import Shared

PRIVATE: dict[str, Any] = {"api_visibility": "private"}


@dataclass
class Watch:
    """What one page is looking at: a run, and the events read so far of it and of the runs laid over it."""

    run_id: str | None = None
    overlay: list[str] = field(default_factory=list)
    offsets: dict[str, int] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    steps: dict[str, list[StepEvent]] = field(default_factory=dict)
    probes: dict[str, list[ProbeEvent]] = field(default_factory=dict)
    follow: bool = True
    shown_state: str = ""


def build_align_tab(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the tab and bind its events."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            form = build_form(services)
            train = gr.Button("Train", variant="primary", size="lg", elem_id="train")
            _import_box(services, shared, form.dataset)
        with gr.Column(scale=7, min_width=320):
            count = gr.Markdown()
            preview = gr.Dataframe(
                headers=PREVIEW_HEADERS,
                datatype=["number", "str", "str", "str", "str"],
                interactive=False,
                wrap=True,
                max_height=520,
                column_widths=["44px", "26%", "30%", "30%", "96px"],
                label="What will be trained on",
                show_row_numbers=False,
                elem_id="preview",
            )

    gr.Markdown("## Run")
    head = gr.HTML(run_view.EMPTY, elem_id="run-head")
    bar = gr.HTML(elem_id="run-progress")
    with gr.Row(visible=False) as live_buttons:
        keep = gr.Button("Stop and keep", size="sm", elem_id="stop-keep")
        discard = gr.Button("Stop and discard", size="sm", variant="stop")
    outcome = gr.HTML(elem_id="run-result")
    with gr.Row(visible=False) as done_buttons:
        to_chat = gr.Button("Compare in chat", variant="primary", size="sm", elem_id="to-chat")
    reading = gr.Markdown(elem_id="reading")
    with gr.Column(visible=False) as details:
        axis = gr.Radio(["step", "epoch", "seconds"], value="step", label="Horizontal axis", container=False)
        plot = gr.Plot(show_label=False, elem_id="charts")
        step = gr.Slider(0, 1, value=1, step=1, label="Film-strip: answers at step", elem_id="film-step")
        strip = gr.HTML(elem_id="film-strip")
        with gr.Accordion("Log", open=False):
            log_tail = gr.Code(
                language=None, show_label=False, lines=12, max_lines=24, interactive=False, elem_id="log"
            )

    gr.Markdown("## History")
    history = gr.Dataframe(
        headers=run_view.HISTORY_HEADERS,
        interactive=False,
        wrap=False,
        column_widths=["180px", "100px", "110px", "190px", "60px", "50px", "190px", "70px", "130px", "260px"],
        max_height=360,
        show_row_numbers=False,
        elem_id="history",
        label="Click a line to open the run",
    )
    with gr.Row():
        overlay = gr.Dropdown([], multiselect=True, label="Lay over in the charts", scale=3)
        reuse = gr.Button("Reuse settings", size="sm")
        resume = gr.Button("Resume", size="sm")
        delete = gr.Button("Delete", size="sm", variant="stop")
    with gr.Row(visible=False) as sure_row:
        sure_text = gr.Markdown()
        sure = gr.Button("Yes, delete it", variant="stop", size="sm")
        never_mind = gr.Button("Keep it", size="sm")

    watch = gr.State(lambda: Watch())
    timer = gr.Timer(1.0)
    panel = [
        watch,
        head,
        bar,
        live_buttons,
        outcome,
        done_buttons,
        reading,
        details,
        plot,
        step,
        strip,
        log_tail,
        history,
        overlay,
    ]

    def show(state: Watch, axis_name: str, everything: bool = True) -> dict[Any, Any]:
        """All outputs of the run panel; ``everything`` redraws what a timer tick may leave alone."""
        runs = services.runs
        run = _find(services, state.run_id)
        updates: dict[Any, Any] = {watch: state}
        if everything:
            listed = runs.list()
            updates[history] = [run_view.history_row(r) for r in listed]
            others = [(f"{r.title} · {r.run_id}", r.run_id) for r in listed if r.run_id != state.run_id]
            state.overlay = [run_id for run_id in state.overlay if run_id in {value for _, value in others}]
            updates[overlay] = gr.Dropdown(choices=others, value=state.overlay)
        if run is None:
            updates |= {
                head: run_view.EMPTY,
                bar: "",
                outcome: "",
                reading: "",
                plot: None,
                strip: "",
                live_buttons: gr.Row(visible=False),
                done_buttons: gr.Row(visible=False),
                details: gr.Column(visible=False),
                log_tail: "",
            }
            return updates
        fresh = _read(services, state)
        live = run.status.state not in FINAL_STATES
        updates |= {
            head: run_view.header(run),
            bar: run_view.progress(run),
            outcome: run_view.result(run),
            live_buttons: gr.Row(visible=live),
            done_buttons: gr.Row(visible=run.has_adapter and not live),
            details: gr.Column(visible=True),
            log_tail: runs.log_tail(run.run_id),
        }
        if fresh or everything:
            steps, probes = state.steps.get(run.run_id, []), state.probes.get(run.run_id, [])
            said = read_curve(steps, probes, loss_type=run.recipe.dpo.loss_type, support_ratio=run.recipe.support_ratio)
            updates[reading] = "\n".join(f"- {sentence}" for sentence in said)
            updates[plot] = training_figure(_curves(services, state), axis_name)  # type: ignore[arg-type]
            samples = runs.samples(run.run_id)
            updates |= _film(samples, state)
        return updates

    def _film(samples: list[SampleEvent], state: Watch) -> dict[Any, Any]:
        last = max((s.step for s in samples), default=1)
        updates: dict[Any, Any] = {step: gr.Slider(maximum=max(1, last))}
        if state.follow:
            updates = {step: gr.Slider(maximum=max(1, last), value=last), strip: run_view.film_strip(samples, last)}
        return updates

    def open_run(run_id: str | None, axis_name: str, overlaid: list[str] | None = None) -> dict[Any, Any]:
        return show(Watch(run_id=run_id, overlay=overlaid or []), axis_name)

    def attach(axis_name: str) -> dict[Any, Any]:
        """On page load: the running run if there is one, else the newest."""
        listed = services.runs.list()
        live = [r for r in listed if r.status.state not in FINAL_STATES]
        chosen = (live[-1] if live else listed[0]).run_id if listed else None
        return open_run(chosen, axis_name)

    def tick(state: Watch, axis_name: str) -> dict[Any, Any]:
        run = _find(services, state.run_id)
        now = run.status.state if run else "none"
        changed, state.shown_state = now != state.shown_state, now
        if not changed and (run is None or now in FINAL_STATES):
            return {watch: gr.skip()}
        return show(state, axis_name, everything=changed)

    def start(mark: Visitor, axis_name: str, *values: Any) -> dict[Any, Any]:
        require_operator(mark, "training")
        run_id = services.align.start(form_from(*values))
        return open_run(run_id, axis_name)

    def stop(mark: Visitor, state: Watch, mode: str) -> str:
        require_operator(mark, "stopping a run")
        if state.run_id is None:
            raise NotFoundError("There is no run to stop.")
        services.runs.stop(state.run_id, mode)  # type: ignore[arg-type]
        return run_view.progress(services.runs.get(state.run_id))

    def resume_run(mark: Visitor, state: Watch, axis_name: str) -> dict[Any, Any]:
        require_operator(mark, "resuming a run")
        run = _chosen(services, state)
        services.align.resume(run.run_id)
        return open_run(run.run_id, axis_name)

    def ask_delete(mark: Visitor, state: Watch) -> tuple[Any, str]:
        require_operator(mark, "deleting a run")
        run = _chosen(services, state)
        return gr.Row(visible=True), f"Delete **{run.run_id}** with its adapter, curves and log? This cannot be undone."

    def delete_run(mark: Visitor, state: Watch, axis_name: str) -> dict[Any, Any]:
        require_operator(mark, "deleting a run")
        run = _chosen(services, state)
        services.compare.release(run.run_id)
        services.runs.delete(run.run_id)
        return {**attach(axis_name), sure_row: gr.Row(visible=False)}

    def reuse_settings(state: Watch) -> dict[Any, Any]:
        recipe = _chosen(services, state).recipe
        dataset = services.datasets.get(recipe.dataset_id)
        values = [
            recipe.base.id,
            recipe.dataset_id,
            recipe.support_ratio,
            gr.Slider(maximum=len(dataset.pairs), value=recipe.data_size),
            recipe.shuffle,
            recipe.system_prompt,
            "",
            recipe.preset,
            *recipe_knobs(recipe.lora, recipe.dpo),
        ]
        return dict(zip(form.all(), values, strict=True))

    def lay_over(state: Watch, chosen: list[str], axis_name: str) -> tuple[Watch, Any]:
        state.overlay = chosen
        _read(services, state)
        return state, training_figure(_curves(services, state), axis_name)  # type: ignore[arg-type]

    def redraw(state: Watch, axis_name: str) -> Any:
        return training_figure(_curves(services, state), axis_name) if state.run_id else None  # type: ignore[arg-type]

    def turn_film(state: Watch, at: float) -> tuple[Watch, str]:
        if state.run_id is None:
            return state, ""
        samples = services.runs.samples(state.run_id)
        state.follow = at >= max((s.step for s in samples), default=0)
        return state, run_view.film_strip(samples, int(at))

    def pick(event: gr.SelectData, axis_name: str) -> dict[Any, Any]:
        return open_run(event.row_value[-1], axis_name)

    def dataset_changed(dataset_id: str, size: float) -> tuple[Any, Any]:
        data = services.datasets.get(dataset_id)
        n = len(data.pairs)
        info = (
            "Share of the pairs in which the supporting answer is the preferred one."
            if data.kind == "sides"
            else "Share of the pairs kept as labelled; the rest are flipped."
        )
        return gr.Slider(maximum=n, value=min(int(size), n)), gr.Slider(info=info)

    def preview_table(*values: Any) -> tuple[list[list[Any]], str]:
        return preview_rows(services, form_from(*values))

    def refresh_choices() -> tuple[Any, Any]:
        datasets, bases = choices(services)
        return gr.Dropdown(choices=datasets), gr.Dropdown(choices=bases)

    preview_inputs = form.all()
    app.load(guarded(refresh_choices), None, [form.dataset, form.base], **PRIVATE)
    app.load(guarded(preview_table), preview_inputs, [preview, count], **PRIVATE)
    app.load(guarded(attach), axis, panel, **PRIVATE)
    form.dataset.change(
        guarded(dataset_changed), [form.dataset, form.data_size], [form.data_size, form.support_ratio], **PRIVATE
    ).then(guarded(preview_table), preview_inputs, [preview, count], show_progress="hidden", **PRIVATE)
    gr.on(
        [form.support_ratio.change, form.data_size.change, form.shuffle.change, form.seed.change],
        guarded(preview_table),
        preview_inputs,
        [preview, count],
        show_progress="hidden",
        trigger_mode="always_last",
        **PRIVATE,
    )
    form.preset.input(guarded(preset_values), form.preset, form.knobs(), **PRIVATE)
    train.click(guarded(start), [shared.visitor, axis, *form.all()], panel, concurrency_limit=None, **PRIVATE)
    timer.tick(guarded(tick), [watch, axis], panel, show_progress="hidden", concurrency_limit=None, **PRIVATE)
    for button, mode in ((keep, "keep"), (discard, "discard")):
        button.click(
            guarded(lambda mark, state, mode=mode: stop(mark, state, mode)), [shared.visitor, watch], bar, **PRIVATE
        )
    axis.change(guarded(redraw), [watch, axis], plot, show_progress="hidden", **PRIVATE)
    step.release(guarded(turn_film), [watch, step], [watch, strip], show_progress="hidden", **PRIVATE)
    history.select(guarded(pick), axis, panel, **PRIVATE)
    overlay.input(guarded(lay_over), [watch, overlay, axis], [watch, plot], **PRIVATE)
    reuse.click(guarded(reuse_settings), watch, form.all(), **PRIVATE)
    resume.click(guarded(resume_run), [shared.visitor, watch, axis], panel, **PRIVATE)
    delete.click(guarded(ask_delete), [shared.visitor, watch], [sure_row, sure_text], **PRIVATE)
    sure.click(guarded(delete_run), [shared.visitor, watch, axis], [*panel, sure_row], **PRIVATE)
    never_mind.click(lambda: gr.Row(visible=False), None, sure_row, **PRIVATE)
    to_chat.click(
        guarded(lambda state: (state.run_id, gr.Tabs(selected="compare"))),
        watch,
        [shared.compare_run, shared.tabs],
        **PRIVATE,
    )
    shared.align_run.change(guarded(open_run), [shared.align_run, axis], panel, **PRIVATE)
    _api(services)


def _find(services: Services, run_id: str | None) -> RunView | None:
    if run_id is None:
        return None
    try:
        return services.runs.get(run_id)
    except NotFoundError:  # deleted from another page: this page shows the empty state
        return None


def _chosen(services: Services, state: Watch) -> RunView:
    if state.run_id is None:
        raise NotFoundError("No run is open; click a line of the history first.")
    return services.runs.get(state.run_id)


def _read(services: Services, state: Watch) -> bool:
    """Read new events of the open run and the overlaid ones into ``state``; whether there were any."""
    fresh = False
    for run_id in [state.run_id, *state.overlay]:
        if run_id is None or _find(services, run_id) is None:
            continue
        events, state.offsets[run_id] = services.runs.events(run_id, state.offsets.get(run_id, 0))
        fresh = fresh or bool(events)
        events = in_force([*state.events.get(run_id, []), *events])  # a resumed run trains some steps anew
        state.events[run_id] = events
        state.steps[run_id] = [e for e in events if isinstance(e, StepEvent)]
        state.probes[run_id] = [e for e in events if isinstance(e, ProbeEvent)]
    return fresh


def _curves(services: Services, state: Watch) -> list[Curve]:
    curves = []
    for run_id in [state.run_id, *state.overlay]:
        run = _find(services, run_id)
        if run is not None:
            curves.append(
                Curve(
                    run.title,
                    run.recipe.support_ratio,
                    state.steps.get(run.run_id, []),
                    state.probes.get(run.run_id, []),
                )
            )
    return curves


def _import_box(services: Services, shared: Shared, dataset: gr.Dropdown) -> None:
    with gr.Accordion("Import preference data", open=False):
        gr.Markdown(
            "JSON, JSONL, CSV or Parquet: `prompt, support, oppose` (the course's format; test prompts may come in a second "
            "file) or `prompt, chosen, rejected` (TRL). Nothing is kept unless every row is sound.",
            elem_classes="quiet",
        )
        with gr.Row():
            file = gr.File(label="Preference data", type="filepath", height=110, elem_id="import-file")
            tests = gr.File(label="Test prompts (optional)", type="filepath", height=110, elem_id="import-tests")
        hub = gr.Textbox(label="…or a dataset id on the Hub", placeholder="owner/name", max_lines=1)
        with gr.Row():
            name = gr.Textbox(label="Title", placeholder="from the file name", max_lines=1)
            heldout = gr.Slider(0, 0.5, value=0, step=0.05, label="Keep aside as held-out pairs")
        button = gr.Button("Import", size="sm", elem_id="import")
        report = gr.Markdown()

    def run_import(
        mark: Visitor, path: str | None, tests_path: str | None, hub_id: str, title: str, aside: float
    ) -> tuple[Any, str]:
        require_operator(mark, "importing")
        if path:
            done = services.datasets.import_file(path, tests_path, title=title or None, heldout_fraction=aside)
        elif hub_id.strip():
            done = services.datasets.import_hub(hub_id.strip(), title=title or None, heldout_fraction=aside)
        else:
            raise NotFoundError("There is nothing to import; choose a file or type a Hub id.")
        data = done.dataset
        lines = [
            f"Imported **{data.title}**: {len(data.pairs)} training pairs, {len(data.heldout)} held out, "
            f"{len(data.test_prompts)} test prompts.",
            *(f"- {warning}" for warning in done.warnings),
        ]
        return gr.Dropdown(choices=choices(services)[0], value=data.id), "\n".join(lines)

    button.click(guarded(run_import), [shared.visitor, file, tests, hub, name, heldout], [dataset, report], **PRIVATE)


def _api(services: Services) -> None:
    """Typed, named endpoints for programs: ``/align`` and ``/status``."""

    def align(
        base: str = "embedded",
        dataset: str = "live-action-en",
        support_ratio: float = 0.9,
        data_size: int = 50,
        preset: str = "embedded",
        seed: int = 42,
        operator_password: str = "",
    ) -> str:
        """Queue a DPO run and return its run id. Needs the operator's password where one is set."""
        from studio.ui.access import new_visitor, unlock

        mark = unlock(services.settings, operator_password) if operator_password else new_visitor(services.settings)
        require_operator(mark, "training")
        return services.align.start_simple(base, dataset, support_ratio, data_size, preset, seed)

    def status(run_id: str) -> dict[str, Any]:
        """State, step counts and, once measured, the result of a run: the keys of ``align --json``."""
        return services.align.status(run_id)

    gr.api(guarded(align), api_name="align")
    gr.api(guarded(status), api_name="status")
