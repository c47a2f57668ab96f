"""A before/after evaluation as HTML: progress, sentences, figures, the table of pairs. Every text is escaped, answers covered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from studio.domain.evaluations import Evaluation, EvaluationRow
from studio.domain.toxicity import TextScore
from studio.services.evaluations.reading import footing, headline, p_value, share, signed, span, why_no_interval
from studio.services.evaluations.service import EvaluationStatus
from studio.services.evaluations.statistics import AdapterComparison, Change, Comparison, Share
from studio.services.evaluations.table import by_difference, provoking_ids
from studio.services.wording import counted
from studio.ui.parts.cover import covered

EMPTY = (
    '<div class="empty">No evaluation yet. Choose adapters and a prompt set, then press <b>Start</b>: every prompt is '
    "answered before and after, with the same seeds, and both answers are scored.</div>"
)
#: Rows of the table on one page, transcripts on each side of best and worst.
PAGE, ENDS = 25, 3
_ENDED = {
    "done": "Done.",
    "cancelled": "Cancelled; what was made is kept. Resume goes on.",
    "failed": "",
    "interrupted": "",
}
_COLOURS = {"failed": "#c0392b", "interrupted": "#d9a441", "cancelled": "#8a8f98"}


def progress_html(status: EvaluationStatus) -> str:
    """The bar, how far it is, how long it will take, and how it ended."""
    part = status.done / status.total if status.total else 0.0
    said = [f"{status.done:,} of {status.total:,} pairs"]
    if status.state == "queued":
        said.append("waiting for its turn" if status.ahead == 0 else f"{counted(status.ahead, 'evaluation')} before it")
    elif status.busy and status.eta is not None:
        said.append(f"about {_time(status.eta)} left")
    note = status.note if status.busy else _ENDED.get(status.state, "")
    if note:
        said.append(note)
    message = f'<div class="run-message">{escape(status.message)}</div>' if status.message else ""
    return (
        f'<div class="run-head"><b>{escape(status.title)}</b></div>'
        f'<div class="bar" role="progressbar" aria-label="Evaluation" aria-valuenow="{part * 100:.0f}" aria-valuemin="0" '
        f'aria-valuemax="100"><div style="width:{part * 100:.1f}%;background:{_COLOURS.get(status.state, "#2a9d8f")}"></div>'
        f'</div><div class="quiet">{escape(" · ".join(said))}</div>{message}'
    )


def said_html(evaluation: Evaluation, found: Comparison, names: Mapping[str, str]) -> str:
    """What was found, in sentences, and on what it stands."""
    lines = headline(evaluation, found, names)
    if not lines:
        return '<div class="quiet">No pair is scored yet.</div>'
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="votes-said">{items}</ul><p class="quiet">{escape(footing(evaluation))}</p>'


def figures_html(found: Comparison, names: Mapping[str, str]) -> str:
    """Mean, spread, difference with interval, shares and the audit of every adapter."""
    if not found.adapters:
        return ""
    body = "".join(_figures(one, names) for one in found.adapters)
    return (
        '<div class="wide"><table class="strip votes-table eval-figures"><thead><tr><th></th><th class="n">Before</th>'
        '<th class="n">After</th><th class="n">Difference</th><th>95 % interval</th></tr></thead>'
        f"{body}</table></div>"
    )


def _figures(one: AdapterComparison, names: Mapping[str, str]) -> str:
    lines = []
    for label, change in (("Toxicity, mean ± sd", one.toxicity), ("Reward, mean ± sd", one.reward)):
        if change is not None:
            lines.append(_change(label, change))
    if one.over is not None:
        over = one.over
        crossed = f"{over.mended} went below, {over.worsened} above; {p_value(over)}"
        lines.append(_line("Answers above .5", _shared(over.before), _shared(over.after), "", crossed))
    was, now = one.wording_before, one.wording_after
    lines.append(
        _line("Words an answer", f"{was.length:.1f}", f"{now.length:.1f}", signed(now.length - was.length, 1), "")
    )
    for label, before, after in (
        ("Different 2-grams", was.distinct_2, now.distinct_2),
        ("Different 3-grams", was.distinct_3, now.distinct_3),
    ):
        if before is not None and after is not None:
            lines.append(
                _line(
                    label,
                    f"{before * 100:.0f} %",
                    f"{after * 100:.0f} %",
                    f"{signed((after - before) * 100, 0)} points",
                    "",
                )
            )
    covered_pairs = f"{one.paired:,} of {counted(one.rows, 'pair')} covered on both sides"
    head = f'<tr><th colspan="5"><bdi>{escape(names.get(one.adapter, one.adapter))}</bdi> <span class="quiet">{covered_pairs}</span></th></tr>'
    return f"<tbody>{head}{''.join(lines)}</tbody>"


def _change(label: str, change: Change) -> str:
    def spread(mean: float, sd: float | None) -> str:
        return f"{mean:.3f}" + ("" if sd is None else f" ± {sd:.3f}")

    difference = signed(change.difference, 3)
    if change.percent is not None:
        difference += f" ({signed(change.percent, 0)} %)"
    interval = why_no_interval(change) if change.interval is None else span(change.interval)
    return _line(
        label,
        spread(change.before.mean, change.before.sd),
        spread(change.after.mean, change.after.sd),
        difference,
        interval,
    )


def _shared(part: Share) -> str:
    if part.interval is None:
        return share(part)
    return f"{share(part)}<br><small>{100 * part.interval.low:.0f} to {100 * part.interval.high:.0f} %</small>"


def _line(label: str, before: str, after: str, difference: str, note: str) -> str:
    numbers = "".join(f'<td class="n">{cell}</td>' for cell in (before, after, difference))
    return f"<tr><td>{label}</td>{numbers}<td>{escape(note)}</td></tr>"


def pairs_html(
    evaluation: Evaluation, rows: Sequence[EvaluationRow], page: int, names: Mapping[str, str], worst_first: bool
) -> str:
    """One page of the table; ``rows`` are those that passed the filter, most improved first."""
    if not rows:
        return '<div class="empty">No pair passes this filter.</div>'
    ordered = worst_order(rows) if worst_first else list(rows)
    provoking = provoking_ids(evaluation)
    several = len(evaluation.spec.adapters) > 1
    body = "".join(
        _row(row, row.prompt_id in provoking, names.get(row.adapter, row.adapter) if several else "")
        for row in ordered[page * PAGE : (page + 1) * PAGE]
    )
    return (
        '<div class="wide"><table class="strip eval-pairs"><thead><tr><th>Query</th><th>Response before</th>'
        '<th>Response after</th><th class="n">Reward before</th><th class="n">Reward after</th><th class="n">Difference</th>'
        f"</tr></thead><tbody>{body}</tbody></table></div>"
    )


def worst_order(rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
    """Those that got worse first; those without a difference stay last."""
    known = [row for row in rows if row.difference is not None]
    return [*reversed(known), *(row for row in rows if row.difference is None)]


def pages(rows: int) -> int:
    """How many pages so many rows take, at least one."""
    return max(1, -(-rows // PAGE))


def ends_html(evaluation: Evaluation) -> str:
    """The transcripts that changed most for the better and for the worse."""
    rows = [row for row in by_difference(evaluation.rows) if row.difference]
    provoking = provoking_ids(evaluation)
    best = [row for row in rows if (row.difference or 0) > 0][:ENDS]
    worst = [row for row in reversed(rows) if (row.difference or 0) < 0][:ENDS]

    def column(title: str, found: Sequence[EvaluationRow]) -> str:
        cards = "".join(_card(row, row.prompt_id in provoking) for row in found)
        return f"<div><h4>{title}</h4>{cards or '<p class=quiet>None.</p>'}</div>"

    return (
        f'<div class="eval-ends">{column("Improved most", best)}{column("Got worse most", worst)}</div>' if rows else ""
    )


def _card(row: EvaluationRow, provoking: bool) -> str:
    return (
        f'<div class="eval-card">{_query(row, provoking)}'
        f'<p class="quiet">Before · {_numbers(row.before)}</p>{covered(row.response_before, "answer before")}'
        f'<p class="quiet">After · {_numbers(row.after)}</p>{covered(row.response_after, "answer after")}</div>'
    )


def _row(row: EvaluationRow, provoking: bool, adapter: str) -> str:
    difference = "–" if row.difference is None else signed(row.difference, 3)
    under = f"sample {row.sample + 1}" + (f" · {adapter}" if adapter else "")
    return (
        f'<tr><td>{_query(row, provoking)}<small class="quiet">{escape(under)}</small></td>'
        f"<td>{covered(row.response_before, 'answer before')}</td><td>{covered(row.response_after, 'answer after')}</td>"
        f'<td class="n">{_cell(row.before)}</td><td class="n">{_cell(row.after)}</td><td class="n"><b>{difference}</b></td></tr>'
    )


def _query(row: EvaluationRow, provoking: bool) -> str:
    """A question made to provoke may offend itself."""
    return (
        covered(row.query, "question") if provoking else f'<div class="eval-query" dir="auto">{escape(row.query)}</div>'
    )


def _cell(score: TextScore) -> str:
    if score.reward is None:
        return "<small>not covered</small>"
    toxicity = "" if score.toxicity is None else f"<br><small>toxicity {score.toxicity:.3f}</small>"
    return f"{signed(score.reward, 3)}{toxicity}"


def _numbers(score: TextScore) -> str:
    if score.reward is None:
        return "not covered"
    toxicity = "" if score.toxicity is None else f"toxicity {score.toxicity:.3f}, "
    return f"{toxicity}reward {signed(score.reward, 3)}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
