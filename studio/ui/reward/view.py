"""HTML and charts of a reward run and of scores. Pure functions; every text from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from studio.domain.events import RewardReport
from studio.domain.runs import FINAL_STATES
from studio.domain.toxicity import TextScore
from studio.services.reward.reading import claim, majority_name
from studio.services.reward.service import VoteCount
from studio.services.runs.store import RunView
from studio.services.wording import percent
from studio.ui.page.theme import OPPOSE_COLOR, SUPPORT_COLOR
from studio.ui.training.run_view import bar, header_html, started

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from studio.services.scoring.service import Verdict

EMPTY = (
    '<div class="empty">No reward model yet. Choose votes or a dataset, press <b>Train reward model</b>, and the curves appear '
    "here; on the embedded base that takes well under a minute.</div>"
)
HEADERS = ["Name", "State", "Base", "Data", "kept", "n", "Held-out accuracy", "Steps", "Started", "Run"]
TYPES = ("str", "str", "str", "str", "number", "number", "str", "str", "str", "str")
WIDTHS = ("210px", "100px", "130px", "190px", "64px", "54px", "170px", "70px", "140px", "290px")
_GRID = "rgba(128,128,128,.22)"
_BINS = 21


def header(run: RunView) -> str:
    """Who this run is: its own settings, never the form's."""
    r, reward = run.recipe, run.recipe.reward_settings
    length = f"{reward.max_seconds:g} s" if reward.max_seconds else f"{reward.epochs:g} epochs"
    facts = [
        ("base", r.base.id),
        ("data", r.dataset_title),
        ("trained on", f"{r.data_size} pairs, {r.data_size - sum(r.rows_support)} flipped"),
        ("data sha256", r.dataset_hash[:12]),
        ("LoRA", f"r {r.lora.rank}, alpha {r.lora.alpha}"),
        ("lr", f"{reward.learning_rate:g}"),
        ("length", length),
        ("batch", f"{reward.batch_size} × {reward.gradient_accumulation}"),
        ("max length", f"{reward.max_length} tokens"),
        ("seed", str(reward.seed)),
    ]
    return header_html(run, facts)


def result(run: RunView) -> str:
    """Held-out accuracy with its interval beside both baselines, and what may be claimed of it."""
    if run.status.state not in FINAL_STATES:
        return ""
    report = run.reward
    if report is None or not report.n:
        ended = run.status.state in ("done", "stopped")
        why = "Its accuracy was not measured: it was stopped early, or there was no held-out pair that could be read."
        return f'<div class="quiet">{why}</div>' if ended else ""
    dropped = (
        f" {report.dropped} {'pair' if report.dropped == 1 else 'pairs'} could not be used (an answer longer than the limit, or "
        "both the same)."
        if report.dropped
        else " No pair had to be dropped."
    )
    ties = f" {report.ties} got equal rewards and count as wrong." if report.ties else ""
    accuracy = report.hits / report.n
    told = f"{percent(accuracy)} [{report.low:.0%}, {report.high:.0%}] · {report.hits} of {report.n}"
    majority = majority_name(report).strip("“”")
    bars = (
        bar("this model", accuracy, told, (report.low, report.high))
        + bar(majority, report.majority, percent(report.majority), other=True)
        + bar("the longer answer wins", report.longer, percent(report.longer), other=True)
    )
    mark = "✓" if report.learned else "○"
    return (
        f"<div class='result'><h3>{report.hits} of {report.n} held-out pairs right ({accuracy:.0%})</h3><div class='bars'>{bars}</div>"
        f"<p class='claim {'ok' if report.learned else ''}'>{mark} {escape(claim(report))}</p>"
        f"<p class='quiet'>Pairs whose prompt was in no training row, counted one by one, with 95 % Wilson interval. Both baselines "
        f"are measured on the same pairs.{ties}{dropped}</p></div>"
    )


def history_row(run: RunView) -> list[object]:
    """One line of the history table."""
    report, recipe = run.reward, run.recipe
    measured = f"{report.hits}/{report.n} [{report.low:.0%}, {report.high:.0%}]" if report and report.n else "–"
    return [
        run.title,
        run.status.state,
        recipe.base.id,
        recipe.dataset_title,
        recipe.support_ratio,
        recipe.data_size,
        measured,
        f"{run.last_step.step}/{run.last_step.total}" if run.last_step else "–",
        started(run),
        run.run_id,
    ]


def margin_figure(report: RewardReport) -> Figure:
    """How far the rewards of the two answers lie apart: right of zero the preferred one is ahead."""
    from plotly.graph_objects import Bar

    most = max((abs(margin) for margin in report.margins), default=1.0) or 1.0
    width = 2 * most / _BINS
    counts = [0] * _BINS
    for margin in report.margins:
        counts[min(_BINS - 1, int((margin + most) / width))] += 1
    centres = [-most + (index + 0.5) * width for index in range(_BINS)]
    figure = _figure("Margins on held-out pairs")
    colors = [SUPPORT_COLOR if centre > 0 else OPPOSE_COLOR for centre in centres]
    figure.add_trace(
        Bar(
            x=centres, y=counts, width=width, marker_color=colors, hovertemplate="%{y} pairs at %{x:.2f}<extra></extra>"
        )
    )
    figure.add_vline(x=0, line={"color": "#999", "width": 1.5, "dash": "dash"})
    figure.update_xaxes(title_text="margin: preferred − other")
    figure.update_yaxes(title_text="pairs")
    return figure


def calibration_figure(report: RewardReport) -> Figure:
    """How often it is right where it says so much: on the dashed line it knows what it knows."""
    from plotly.graph_objects import Scatter

    figure = _figure("Calibration on held-out pairs")
    said = [point[0] for point in report.calibration]
    right = [point[1] for point in report.calibration]
    counts = [point[2] for point in report.calibration]
    figure.add_trace(
        Scatter(
            x=[0.5, 1], y=[0.5, 1], mode="lines", line={"color": "#999", "width": 1.5, "dash": "dash"}, hoverinfo="skip"
        )
    )
    figure.add_trace(
        Scatter(
            x=said,
            y=right,
            mode="lines+markers+text",
            text=[f"n {count}" for count in counts],
            textposition="top center",
            line={"color": SUPPORT_COLOR, "width": 2},
            marker={"size": 9},
            hovertemplate="says %{x:.0%}, right %{y:.0%} (%{text})<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="probability it gives its own choice", range=[0.48, 1.02], tickformat=".0%")
    figure.update_yaxes(title_text="share right", range=[-0.05, 1.12], tickformat=".0%")
    return figure


def _figure(title: str) -> Figure:
    from plotly.graph_objects import Figure

    figure = Figure()
    figure.update_layout(
        title={"text": title, "font": {"size": 13}, "x": 0.5},
        height=300,
        margin={"l": 48, "r": 12, "t": 40, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#888", "size": 12},
        showlegend=False,
        bargap=0.04,
        uirevision=title,
    )
    figure.update_xaxes(gridcolor=_GRID, zerolinecolor=_GRID)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_GRID)
    return figure


def votes_badge(count: VoteCount) -> str:
    """How many decided pairs are new, and what the others lack."""
    lost = count.left_out
    undecided = f"{lost.total} left out: {lost}" if lost.total else "none left out"
    since = f"since the last run on votes ({escape(count.last)})" if count.last else "and no run on votes yet"
    new = "pair" if count.new == 1 else "pairs"
    return (
        f'<div class="loop"><b>{count.new}</b> new decided {new} {since}<br>'
        f'<span class="quiet">{count.decided} pairs are decided by a strict majority of enough votes; {escape(undecided)}.</span></div>'
    )


def scores(answers: Sequence[TextScore], verdict: Verdict | None) -> str:
    """Rewards of one or two answers; of two the margin and the probability."""
    lines = [
        f"<div><b>{name}</b> reward <b>{score.reward:+.3f}</b>{cut_told(score.cut)}</div>"
        for name, score in zip(("Answer A", "Answer B"), answers, strict=False)
    ]
    if verdict is None:
        lines.append(
            "<div class='quiet'>One reward alone says little: only the difference between two answers to the same prompt does.</div>"
        )
    else:
        p, ahead = (verdict.probability, "A") if verdict.margin >= 0 else (1 - verdict.probability, "B")
        lines.append(
            f"<div class='verdict'>{ahead} is preferred with probability <b>{p:.1%}</b> "
            f"<span class='quiet'>(margin A − B {verdict.margin:+.3f}; sigmoid of it, as this model sees it)</span></div>"
        )
    return f"<div class='scores'>{''.join(lines)}</div>"


def cut_told(tokens: int) -> str:
    return f" <span class='quiet'>(the oldest {tokens} tokens of the prompt did not fit)</span>" if tokens else ""
