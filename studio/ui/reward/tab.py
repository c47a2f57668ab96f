"""The Reward tab: learn what people prefer from votes and data, read an honest accuracy, score text, go on from the votes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.services import Services
from studio.services.models.service import Progress
from studio.services.reward.service import base_id
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.parts.base_fetch import bind_default
from studio.ui.parts.base_needs import bind_needs
from studio.ui.parts.html import parts
from studio.ui.reward import view as reward_view
from studio.ui.reward.best_of_box import BestOfBox
from studio.ui.reward.form import ALL_ROOMS, VOTES, RewardWidgets, build_form, form_from, room_choices
from studio.ui.reward.panel import RewardPanel
from studio.ui.reward.preview import build_table, preview
from studio.ui.reward.score_box import build_score_box, offer
from studio.ui.training.form import (
    bind_outlook,
    bind_reset,
    bind_start,
    dataset_choices,
    size_range,
)
from studio.ui.training.long_rows import bind_long_rows
from studio.ui.training.watch import Watch


def build_reward_tab(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the tab and bind its events."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            form, needs, starts = build_form(services)
            with gr.Accordion("More votes?", open=False, elem_id="reward-curve-box"):
                gr.Markdown("Three runs, measured on the same held-out pairs.", elem_classes="quiet")
                curve = gr.Button("Train on 25, 50 and 100 % of the pairs", size="sm", elem_id="reward-curve")
        with gr.Column(scale=7, min_width=320):
            counts = gr.HTML(elem_id="reward-counts")
            long_rows = gr.Markdown(elem_id="reward-rows-that-fit", elem_classes="quiet")
            table = build_table()
            with gr.Accordion("Train on the votes", open=False, elem_id="train-on-votes") as votes_box:
                badge = gr.HTML(elem_id="votes-badge")
                again = gr.Button("Retrain on the votes", size="sm", interactive=False, elem_id="retrain-votes")
                share = gr.Slider(
                    0,
                    1,
                    value=0.9,
                    step=0.05,
                    label="Share kept as voted",
                    info="In the rest the answer voted against is preferred.",
                    elem_id="votes-share",
                )
                dpo_base = gr.Dropdown(
                    [(model.title, model.id) for model in services.models.catalogue()],
                    value=services.models.default_base(),
                    label="Base of the DPO run",
                    allow_custom_value=True,
                    info="Usually the model whose answers were voted on.",
                    elem_id="votes-base",
                )
                dpo = gr.Button("Run DPO on the votes", size="sm", interactive=False, elem_id="dpo-votes")
            scorer = build_score_box(services)
    panel = RewardPanel(services)
    best_of = BestOfBox(services, scorer)

    def refresh(
        room: str | None, chosen: str | None, judge: str | None, model: str | None, *values: Any
    ) -> dict[Any, Any]:
        """What may have changed elsewhere: votes, datasets, runs."""
        updates: dict[Any, Any] = {
            scorer: offer(services.scoring.reward_runs(), chosen),
            **best_of.offers(judge, model),
            form.dataset: gr.Dropdown(choices=dataset_choices(services)),
            **dict(zip((counts, table), count(*values), strict=True)),
        }
        try:
            votes, rooms = services.reward.count(), room_choices(services)
        except StudioError as error:
            return {**updates, badge: parts.message(str(error))}
        ready = votes.decided > 0
        return {
            **updates,
            form.room: gr.Dropdown(
                choices=rooms, value=room if room in dict(rooms).values() else ALL_ROOMS, visible=len(rooms) > 2
            ),
            votes_box: gr.Accordion(
                label=f"Train on the votes · {votes.new:,} new" if votes.new else "Train on the votes"
            ),
            badge: reward_view.votes_badge(votes),
            again: gr.Button(interactive=ready),
            dpo: gr.Button(interactive=ready),
        }

    def count(*values: Any) -> tuple[str, list[list[Any]]]:
        try:
            return preview(services, form_from(*values))
        except StudioError as error:
            return parts.message(str(error)), []

    def start(values: Sequence[Any], progress: Progress) -> str:
        return services.reward.start(form_from(*values), progress)

    def start_curve(values: Sequence[Any], progress: Progress) -> str:
        return services.reward.start_curve(form_from(*values), progress)[-1]

    def retrain(mark: Visitor, state: Watch, axis: str) -> dict[Any, Any]:
        require_operator(mark, "training")
        return panel.open_run(state, services.reward.retrain(), axis)

    def start_dpo(
        mark: Visitor,
        kept: float,
        base: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
    ) -> tuple[str, Any]:
        require_operator(mark, "training")
        run_id = services.reward.dpo_on_votes(kept, base_id(base or ""), lambda share, text: progress(share, desc=text))
        return run_id, gr.Tabs(selected="align")

    def source_changed(source: str, dataset_id: str, size: float | None) -> tuple[Any, Any]:
        pairs = len(services.datasets.get(dataset_id).pairs)
        shown = source != VOTES
        return gr.Dropdown(visible=shown), gr.Slider(
            **size_range(pairs), value=min(int(size or pairs), pairs), visible=shown
        )

    def suit_base(base: str | None) -> list[Any]:
        try:
            return RewardWidgets.preset_values(services.reward.preset_for(base or ""))
        except StudioError:  # what is wrong stands below the base
            return [gr.skip()] * (1 + len(form.knobs()))

    fresh = [form.room, scorer, best_of.judge, best_of.model, form.dataset, counts, table, votes_box, badge, again, dpo]
    looked = [form.room, scorer, best_of.judge, best_of.model, *form.all()]
    when_opened(panel.history, app, guarded(refresh), looked, fresh)
    bind_needs(services, shared, app, form.base, needs, base_id)
    form.base.input(guarded(suit_base), form.base, [form.preset, *form.knobs()], **QUIET)
    bind_default(services, shared, form.base, services.reward.bases, suit_base, [form.preset, *form.knobs()])
    bind_default(services, shared, dpo_base, lambda: [(model.title, model.id) for model in services.models.catalogue()])
    form.preset.input(
        guarded(RewardWidgets.preset_values),
        form.preset,
        [form.preset, *form.knobs()],
        **QUIET,
    )
    gr.on(
        [form.source.change, form.dataset.change],
        guarded(source_changed),
        [form.source, form.dataset, form.data_size],
        [form.dataset, form.data_size],
        **QUIET,
    )
    gr.on(
        [
            form.source.change,
            form.room.change,
            form.dataset.change,
            form.data_size.change,
            form.support_ratio.change,
        ],
        guarded(count),
        form.all(),
        [counts, table],
        trigger_mode="always_last",
        **QUIET,
    )
    bind_outlook(starts.length, shared, app, form.all(), lambda *values: services.reward.outlook(form_from(*values)))
    lengths = [form.settings[name] for name in ("max_length", "long_rows")]
    bind_long_rows(
        long_rows,
        lambda *values: services.reward.fit(form_from(*values)),
        form.all(),
        [form.source, form.room, form.dataset, form.base, form.data_size, *lengths],
    )
    bind_reset(starts.reset, services, form, form.base, [form.preset, *form.knobs()], suit_base)
    panel.bind(shared, app, form.all(), shared.reward_run)
    here = [panel.watch, panel.axis]
    bind_start(starts.train, panel, shared, form.all(), start)
    bind_start(curve, panel, shared, form.all(), start_curve)
    again.click(guarded(retrain), [shared.visitor, *here], panel.outputs, show_progress_on=panel.head, **PRIVATE).then(
        guarded(refresh), looked, fresh, **QUIET
    )
    dpo.click(guarded(start_dpo), [shared.visitor, share, dpo_base], [shared.align_run, shared.tabs], **PRIVATE)
    # a run that ends here can be scored with at once, and its votes are not new any more
    panel.outcome.change(guarded(refresh), looked, fresh, **QUIET)
