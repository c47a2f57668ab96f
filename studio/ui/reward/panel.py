"""What the Reward tab shows of a run: held-out accuracy beside two baselines, margins, calibration, curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import gradio as gr

from studio.domain.runs import FINAL_STATES, RewardRecipe
from studio.services.reward.curve import more_votes
from studio.services.reward.reading import read_reward
from studio.services.runs.store import RunView
from studio.ui.parts.live_chart import build_live_chart
from studio.ui.reward import view as reward_view
from studio.ui.reward.form import recipe_values
from studio.ui.training.charts import Axis, Curve, training_figure
from studio.ui.training.run_panel import RunPanel
from studio.ui.training.watch import Watch

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class RewardPanel(RunPanel):
    """Reward runs."""

    prefix = "reward-"
    view: ClassVar[Any] = reward_view

    def owns(self, run: RunView) -> bool:
        """Reward runs only."""
        return run.method == "reward"

    def draw_result(self) -> None:
        """The learning curve; histogram and calibration side by side, below each other on a phone."""
        with gr.Column(visible=False) as self.learning:
            self.more_votes = gr.Markdown(elem_id="reward-more-votes")
            self.curve = build_live_chart("reward-learning-curve", 300)
        with gr.Row(visible=False) as self.pictures:
            with gr.Column(min_width=300):
                self.margins = build_live_chart("reward-margins", 300)
            with gr.Column(min_width=300):
                self.calibration = build_live_chart("reward-calibration", 300)
        self.outputs += [
            self.learning,
            self.more_votes,
            self.curve.chart,
            self.pictures,
            self.margins.chart,
            self.calibration.chart,
        ]

    def curve_notes(self, state: Watch, run: RunView) -> list[str]:
        """How to read the curves."""
        return read_reward(state.steps(run.run_id), state.probes(run.run_id))

    def figure(self, curves: Sequence[Curve], axis: Axis) -> Figure:
        """As :func:`charts.training_figure`, of rewards."""
        return training_figure(curves, axis, reward=True)

    def further(self, state: Watch, run: RunView, everything: bool) -> dict[Any, Any]:
        """Learning curve, histogram and calibration of an ended run."""
        report = run.reward
        if report is None or not report.n or run.status.state not in FINAL_STATES:
            return self.nothing()
        points = self._services.reward.curve(run.run_id)
        return {
            self.learning: gr.Column(visible=bool(points)),
            self.more_votes: f"**Do we need more votes?** {more_votes(points)}" if points else "",
            **self.curve.show(reward_view.learning_figure(points) if points else None),
            self.pictures: gr.Row(visible=True),
            **self.margins.show(reward_view.margin_figure(report)),
            **self.calibration.show(reward_view.calibration_figure(report)),
        }

    def nothing(self) -> dict[Any, Any]:
        """No pictures."""
        return {
            self.learning: gr.Column(visible=False),
            self.pictures: gr.Row(visible=False),
            **self.curve.show(None),
            **self.margins.show(None),
            **self.calibration.show(None),
        }

    def repeat(self, run: RunView) -> list[Any]:
        """Values of the Reward form."""
        return recipe_values(self._services, RewardRecipe.of(run.recipe))
