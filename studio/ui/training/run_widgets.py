"""What a panel of runs draws: the open run, its charts and log, the history of such runs."""

from __future__ import annotations

from typing import Any, ClassVar

import gradio as gr

from studio.services import Services
from studio.ui.page.shared import LIVE_S
from studio.ui.parts.live_chart import build_live_chart
from studio.ui.training import run_view
from studio.ui.training.watch import Watch


class RunWidgets:
    """Draws them when made, inside a ``gr.Blocks``; ``outputs`` are all that a handler may update. What a subclass draws itself
    (:meth:`draw_result`, :meth:`draw_details`) it adds to them."""

    #: Begins the element ids.
    prefix: ClassVar[str] = ""
    #: The module that words what is shown of its runs: ``empty()``, ``header(run)``, ``result(run)`` and, for the history,
    #: ``HEADERS``, ``TYPES``, ``WIDTHS`` and ``history_row(run)``, the run's id last.
    view: ClassVar[Any] = run_view
    #: The details stand beside the charts, and the history wherever :meth:`draw_history` is called.
    narrow: bool = False

    def __init__(self, services: Services) -> None:
        self._services = services
        self.outputs: list[Any] = []
        self._draw_open_run()
        if not self.narrow:
            self.draw_history()

    def _draw_open_run(self) -> None:
        if not self.narrow:
            gr.Markdown("## Run")
        self.head = gr.HTML(self.view.empty(), elem_id=self._id("run-head"))
        self.bar = gr.HTML(elem_id=self._id("run-progress"))
        with gr.Row(visible=False, elem_id=self._id("live-buttons")) as self.live_buttons:
            self.keep = gr.Button("Stop and keep", size="sm", elem_id=self._id("stop-keep"))
            self.discard = gr.Button("Stop and discard", size="sm", variant="stop", elem_id=self._id("stop-discard"))
            self.faster = gr.Button("Use the faster preset", size="sm", visible=False, elem_id=self._id("faster"))
        with gr.Row(visible=False, elem_id=self._id("resume-buttons")) as self.resume_buttons:
            self.resume = gr.Button("Resume", size="sm", min_width=120, elem_id=self._id("resume"))
            if self._services.queue.lent:
                self.on_cpu = gr.Button("Train on the CPU", size="sm", min_width=120, elem_id=self._id("on-cpu"))
        with gr.Row(visible=False, elem_id=self._id("discard-row")) as self.discard_row:
            self.discard_text = gr.Markdown()
            self.discard_sure = gr.Button(
                "Yes, discard it", variant="stop", size="sm", elem_id=self._id("discard-sure")
            )
            self.go_on = gr.Button("Keep training", size="sm", elem_id=self._id("keep-training"))
        self.outcome = gr.HTML(elem_id=self._id("run-result"))
        self.draw_result()
        if not self.narrow:
            self.reading = gr.Markdown(elem_id=self._id("reading"))
        with gr.Column(visible=False) as self.details:
            if self.narrow:
                with gr.Row(equal_height=False):
                    with gr.Column(scale=6, min_width=280):
                        self._draw_charts()
                    with gr.Column(scale=5, min_width=260):
                        self.draw_details()
            else:
                self._draw_charts()
                self.draw_details()
            if self.narrow:
                self.reading = gr.Markdown(elem_id=self._id("reading"))
            with gr.Accordion("Log", open=False):
                self.log = gr.HTML(elem_id=self._id("log"))

    def _draw_charts(self) -> None:
        self.chart = build_live_chart(self._id("charts"), 270 if self.narrow else 480)
        self.axis = gr.Radio(
            ["step", "epoch", "seconds"],
            value="step",
            label="Horizontal axis",
            container=False,
            elem_id=self._id("axis"),
        )

    def draw_history(self) -> None:
        """Draw the runs there are, and what can be done with the open one."""
        gr.Markdown("## History")
        self.history = gr.Dataframe(
            headers=list(self.view.HEADERS),
            datatype=list(self.view.TYPES),
            interactive=False,
            wrap=False,
            column_widths=list(self.view.WIDTHS),
            max_height=360,
            show_row_numbers=False,
            elem_id=self._id("history"),
            label="Click a line to open the run",
        )
        with gr.Row(equal_height=True):
            self.overlay = gr.Dropdown(
                [],
                multiselect=True,
                label="Compare with runs",
                scale=3,
                min_width=260,
                elem_id=self._id("overlay"),
            )
            self.reuse = gr.Button("Reuse settings", size="sm", min_width=120, elem_id=self._id("reuse"))
            self.delete = gr.Button("Delete", size="sm", min_width=120, variant="stop", elem_id=self._id("delete"))
        with gr.Row(visible=False, elem_id=self._id("sure-row")) as self.sure_row:
            self.sure_text = gr.Markdown()
            self.sure = gr.Button("Yes, delete it", variant="stop", size="sm", elem_id=self._id("sure"))
            self.never_mind = gr.Button("Keep it", size="sm", elem_id=self._id("never-mind"))
        self.watch = gr.State(Watch())
        self.seen = gr.Textbox(visible=False)
        self.timer = gr.Timer(LIVE_S)
        self.outputs += [
            self.head,
            self.bar,
            self.live_buttons,
            self.resume_buttons,
            self.keep,
            self.discard,
            self.faster,
            self.discard_row,
            self.outcome,
            self.reading,
            self.details,
            self.chart.chart,
            self.log,
            self.history,
            self.overlay,
            self.reuse,
            self.delete,
            self.sure_row,
            self.timer,
        ]

    def draw_result(self) -> None:
        """Draw what stands below the outcome."""

    def draw_details(self) -> None:
        """Draw what stands between charts and log."""

    def _id(self, name: str) -> str:
        return f"{self.prefix}{name}"
