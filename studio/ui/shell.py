"""The page: header, tabs, and what the tabs share. Each tab is built by its own module."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from studio.services import Services
from studio.ui.addresses import bind_addresses
from studio.ui.align.api import add_api
from studio.ui.align.tab import build_align_tab
from studio.ui.compare.tab import build_compare_tab
from studio.ui.guide.head import build_head
from studio.ui.library.tab import build_library_tab
from studio.ui.page.access import new_visitor
from studio.ui.page.operator_box import build_operator_box
from studio.ui.page.quiet import finish_page
from studio.ui.page.shared import Shared
from studio.ui.parts.base_fetch import bind_fetch_line, build_fetch_line
from studio.ui.rating.tab import build_rate_tab
from studio.ui.reward import score_box
from studio.ui.reward.tab import build_reward_tab
from studio.ui.sweeps import api as sweep_api
from studio.ui.toxicity.tab import build_toxicity_tab
from studio.ui.training.run_bar import bind_run_bar, build_run_bar

#: Seconds: every hour, copies that Gradio made of uploads and of files it served are deleted once a day old. What the studio
#: keeps (runs, data, exports) lies elsewhere and stays.
DELETE_CACHE = (3600, 86_400)
#: The tabs by their labels, in their order; a tab's id is its label in small letters.
TABS: dict[str, Callable[[Services, Shared, gr.Blocks], None]] = {
    "Align": build_align_tab,
    "Compare": build_compare_tab,
    "Rate": build_rate_tab,
    "Reward": build_reward_tab,
    "Toxicity": build_toxicity_tab,
    "Library": build_library_tab,
}
#: What one tab asks of another, see :class:`Shared`.
REQUESTS = (
    "compare_run",
    "align_run",
    "reward_run",
    "detox_run",
    "detox_start",
    "evaluate_run",
    "show_evaluation",
    "show_votes",
    "compare_visit",
    "toxicity_visit",
    "base_ready",
    "finished_run",
)


def build_app(services: Services) -> gr.Blocks:
    """The whole interface. Imports no torch; the engine warms up in the background after the port is bound."""
    with gr.Blocks(
        title="Alignment Studio", analytics_enabled=False, fill_width=True, delete_cache=DELETE_CACHE
    ) as app:
        visitor = gr.State(new_visitor(services.gate))
        # the fixed secret keeps the storage readable after a restart; it guards nothing: the storage is the visitor's own
        chats = gr.BrowserState(None, storage_key="alignment-studio-compare", secret="alignment-studio")
        table = gr.BrowserState(None, storage_key="alignment-studio-table", secret="alignment-studio")
        draft = gr.BrowserState(None, storage_key="alignment-studio-pairs", secret="alignment-studio")
        with gr.Row(elem_id="studio-head"):
            build_head()
            if not services.gate.open:
                build_operator_box(services.gate, visitor, app)
        fetch_line = build_fetch_line()
        bar = build_run_bar()
        # outside of Tabs: Gradio's page counts every child of a tab bar as a tab
        requests = {name: gr.State(None) for name in REQUESTS}
        with gr.Tabs(elem_id="studio-tabs") as tabs:
            shared = Shared(
                visitor=visitor,
                tabs=tabs,
                chats=chats,
                **requests,
                fetch_timer=fetch_line.timer,
                table=table,
                draft=draft,
            )
            for label, build in TABS.items():
                with gr.Tab(label, id=label.lower()):
                    build(services, shared, app)
        bind_fetch_line(services, shared, app, fetch_line)
        bind_run_bar(services, shared, app, bar)
        bind_addresses(services, shared, [label.lower() for label in TABS])
        add_api(services)
        score_box.add_api(services)
        sweep_api.add_api(services)
        finish_page(app, shared)
    return app
