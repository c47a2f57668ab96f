"""What the page shows of a reward run and of scores. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from studio.domain.events import RewardReport
from studio.domain.runs import FINAL_STATES, RewardRecipe
from studio.domain.toxicity import TextScore
from studio.i18n import Named, _
from studio.services.reward.curve import CurvePoint
from studio.services.reward.reading import claim, majority_name
from studio.services.reward.service import VoteCount
from studio.services.runs.store import RunView
from studio.services.wording import NONE, bounds
from studio.ui.page.theme import OPPOSE_COLOR, SUPPORT_COLOR
from studio.ui.parts.figures import REFERENCE, styled
from studio.ui.parts.html import Macros
from studio.ui.training.run_view import header_html, history_line

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from studio.services.scoring.service import Verdict

_HTML = Macros("reward/view.html")

HEADERS = ("Name", "State", "Base", "Data", "kept", "n", "Held-out accuracy", "Steps", "Started", "Run id")
TYPES = ("str", "str", "str", "str", "number", "number", "str", "str", "str", "str")
WIDTHS = ("210px", "100px", "130px", "190px", "64px", "54px", "170px", "70px", "140px", "290px")
_BINS = 21


def empty() -> Markup:
    """What stands there before the first run."""
    return _HTML.empty()


def header(run: RunView) -> Markup:
    """Who this run is: its own settings, never the form's."""
    r = RewardRecipe.of(run.recipe)
    reward = r.settings
    facts = [
        ("base", r.base.id),
        ("data", Named(r.dataset_title)),
        ("trained on", f"{r.data_size} pairs, {r.data_size - sum(r.rows_support)} flipped"),
        ("data sha256", r.dataset_hash[:12]),
        ("LoRA", f"r {r.lora.rank}, alpha {r.lora.alpha}"),
        ("lr", f"{reward.learning_rate:g}"),
        ("length", f"{reward.max_seconds:g} s" if reward.max_seconds else f"{reward.passes(r.data_size):g} epochs"),
        ("batch", f"{reward.batch_size} × {reward.gradient_accumulation}"),
        ("max length", f"{reward.max_length} tokens"),
        ("seed", str(reward.seed)),
    ]
    return header_html(run, facts)


def result(run: RunView) -> str:
    """Held-out accuracy with its interval beside both baselines, and what may be claimed of it."""
    report, state = run.reward, run.status.state
    if state not in FINAL_STATES:
        return ""
    if report is None or not report.n:
        return _HTML.not_measured() if state in ("done", "stopped") else ""
    return _HTML.result(report, report.hits / report.n, majority_name(report).strip("“”"), claim(report))


def measured(report: RewardReport | None) -> str:
    """Held-out accuracy in few words."""
    return f"{report.hits}/{report.n} {bounds(report.low, report.high)}" if report and report.n else NONE


def history_row(run: RunView) -> list[object]:
    """One line of the history table."""
    recipe = RewardRecipe.of(run.recipe)
    return history_line(run, recipe.dataset_title, recipe.support_ratio, recipe.data_size, measured(run.reward))


def margin_figure(report: RewardReport) -> Figure:
    """How far the rewards of the two answers lie apart: right of zero the preferred one is ahead."""
    from plotly.graph_objects import Bar

    most = max((abs(margin) for margin in report.margins), default=1.0) or 1.0
    width = 2 * most / _BINS
    counts = [0] * _BINS
    for margin in report.margins:
        counts[min(_BINS - 1, int((margin + most) / width))] += 1
    centres = [-most + (index + 0.5) * width for index in range(_BINS)]
    figure = _small("Margins on held-out pairs")
    colors = [SUPPORT_COLOR if centre > 0 else OPPOSE_COLOR for centre in centres]
    figure.add_trace(
        Bar(
            x=centres,
            y=counts,
            width=width,
            marker_color=colors,
            hovertemplate=_("%{y} pairs at %{x:.2f}") + "<extra></extra>",
        )
    )
    figure.add_vline(x=0, line=REFERENCE)
    figure.update_xaxes(title_text="margin: preferred − other")
    figure.update_yaxes(title_text=_("number of pairs"))
    return figure


def calibration_figure(report: RewardReport) -> Figure:
    """How often it is right at each probability it states: on the dashed line, exactly that often."""
    from plotly.graph_objects import Scatter

    figure = _small("Calibration on held-out pairs")
    stated, right, counts = zip(*report.calibration, strict=True) if report.calibration else ((), (), ())
    figure.add_trace(Scatter(x=[0.5, 1], y=[0.5, 1], mode="lines", line=REFERENCE, hoverinfo="skip"))
    figure.add_trace(
        Scatter(
            x=stated,
            y=right,
            mode="lines+markers+text",
            text=[f"n {count}" for count in counts],
            textposition="top center",
            line={"color": SUPPORT_COLOR, "width": 2},
            marker={"size": 9},
            hovertemplate=_("states %{x:.0%}, right %{y:.0%} (%{text})") + "<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="stated probability of its own choice", range=[0.48, 1.02], tickformat=".0%")
    figure.update_yaxes(title_text="share right", range=[-0.05, 1.12], tickformat=".0%")
    return figure


def learning_figure(points: Sequence[CurvePoint]) -> Figure:
    """Held-out accuracy over the number of training pairs, with 95 % intervals; dashed: the better baseline."""
    from plotly.graph_objects import Scatter

    figure = _small(f"Learning curve, {points[-1].n} held-out pairs")
    figure.add_trace(
        Scatter(
            x=[point.rows for point in points],
            y=[point.accuracy for point in points],
            error_y={
                "symmetric": False,
                "array": [point.high - point.accuracy for point in points],
                "arrayminus": [point.accuracy - point.low for point in points],
            },
            mode="lines+markers",
            line={"color": SUPPORT_COLOR, "width": 2},
            marker={"size": 9},
            hovertemplate=_("%{x} pairs: %{y:.1%} right") + "<extra></extra>",
        )
    )
    figure.add_hline(y=max(point.baseline for point in points), line=REFERENCE)
    figure.update_xaxes(title_text="training pairs", rangemode="tozero")
    figure.update_yaxes(title_text="share right", tickformat=".0%")
    return figure


def _small(title: str) -> Figure:
    from plotly.graph_objects import Figure

    margin = {"l": 48, "r": 12, "t": 40, "b": 48}
    return styled(Figure(), title, height=300, margin=margin, showlegend=False, bargap=0.04)


def votes_badge(count: VoteCount) -> Markup:
    """How many decided pairs are new, and what the others lack."""
    return _HTML.votes_badge(count)


def scores(answers: Sequence[TextScore], verdict: Verdict | None) -> Markup:
    """Rewards of one or two answers; of two the margin and the probability."""
    if verdict is None:
        return _HTML.scores(answers, "", 0.0, 0.0)
    ahead, p = ("A", verdict.probability) if verdict.margin >= 0 else ("B", 1 - verdict.probability)
    return _HTML.scores(answers, ahead, p, verdict.margin)
