"""What the page shows of a before/after evaluation: progress, sentences, figures, the table of pairs. Pure functions; answers
stand under covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from studio.domain.evaluations import Evaluation, EvaluationRow
from studio.services.evaluations.reading import footing, headline, p_value, share, span, why_no_interval
from studio.services.evaluations.service import EvaluationStatus
from studio.services.evaluations.statistics import AdapterComparison, Change, Comparison, Share
from studio.services.evaluations.table import by_difference, provoking_ids
from studio.services.wording import counted, duration, signed
from studio.ui.page.theme import BAD_COLOR, NEUTRAL_COLOR, SUPPORT_COLOR, WARN_COLOR
from studio.ui.parts.html import Macros

_HTML = Macros("evaluations/view.html")
#: Rows of the table on one page, transcripts on each side of best and worst.
PAGE, ENDS = 25, 3
_ENDED = {"done": "Done.", "cancelled": "Cancelled; what was made is kept. Resume goes on."}
_COLORS = {"failed": BAD_COLOR, "interrupted": WARN_COLOR, "cancelled": NEUTRAL_COLOR}
#: A line of the figures: label, before, after, difference, note.
_Line = tuple[str, str, str, str, str]


def empty() -> Markup:
    """What stands there before the first evaluation."""
    return _HTML.empty()


def progress_html(status: EvaluationStatus) -> Markup:
    """The bar, how far it is, how long it will take, and how it ended."""
    waiting = ""
    if status.state == "queued":
        waiting = "waiting for its turn" if status.ahead == 0 else f"{counted(status.ahead, 'evaluation')} before it"
    elif status.busy and status.eta is not None:
        waiting = f"about {duration(status.eta)} left"
    note = status.note if status.busy else _ENDED.get(status.state, "")
    facts = (f"{status.done:,} of {status.total:,} pairs", waiting, note)
    share_done = status.done / status.total if status.total else 0.0
    return _HTML.progress(status, share_done, _COLORS.get(status.state, SUPPORT_COLOR), facts)


def findings_html(evaluation: Evaluation, comparison: Comparison, names: Mapping[str, str]) -> Markup:
    """What the evaluation comes to, in sentences, and what they rest on."""
    return _HTML.findings(headline(evaluation, comparison, names), footing(evaluation))


def figures_html(comparison: Comparison, names: Mapping[str, str]) -> str:
    """Mean, spread, difference with interval, shares and the audit of every adapter."""
    adapters = [
        (
            names.get(one.adapter, one.adapter),
            f"{one.paired:,} of {counted(one.rows, 'pair')} covered on both sides",
            _figures(one),
        )
        for one in comparison.adapters
    ]
    return _HTML.figures(adapters) if adapters else ""


def _figures(one: AdapterComparison) -> list[_Line]:
    changes = (("Toxicity, mean ± sd", one.toxicity), ("Reward, mean ± sd", one.reward))
    lines = [_change(label, change) for label, change in changes if change is not None]
    if one.over is not None:
        over = one.over
        crossed = f"{over.mended} went below, {over.worsened} above; {p_value(over)}"
        lines.append(("Answers above .5", _share(over.before), _share(over.after), "", crossed))
    was, now = one.wording_before, one.wording_after
    difference = signed(now.length - was.length, 1)
    lines.append(("Words an answer", f"{was.length:.1f}", f"{now.length:.1f}", difference, ""))
    for label, before, after in (
        ("Different 2-grams", was.distinct_2, now.distinct_2),
        ("Different 3-grams", was.distinct_3, now.distinct_3),
    ):
        if before is not None and after is not None:
            difference = f"{signed((after - before) * 100, 0)} points"
            lines.append((label, f"{before * 100:.0f} %", f"{after * 100:.0f} %", difference, ""))
    return lines


def _change(label: str, change: Change) -> _Line:
    before, after = (
        f"{one.mean:.3f}" + ("" if one.sd is None else f" ± {one.sd:.3f}") for one in (change.before, change.after)
    )
    difference = signed(change.difference, 3)
    if change.percent is not None:
        difference += f" ({signed(change.percent, 0)} %)"
    interval = why_no_interval(change) if change.interval is None else span(change.interval)
    return label, before, after, difference, interval


def _share(part: Share) -> Markup:
    return _HTML.share(share(part), part.interval)


def pairs_html(
    evaluation: Evaluation, rows: Sequence[EvaluationRow], page: int, names: Mapping[str, str], worst_first: bool
) -> Markup:
    """One page of the table; ``rows`` are those that passed the filter, most improved first."""
    ordered = worst_order(rows) if worst_first else list(rows)
    several = len(evaluation.spec.adapters) > 1
    shown = ordered[page * PAGE : (page + 1) * PAGE]
    return _HTML.pairs(shown, provoking_ids(evaluation), names if several else None)


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
    best = [row for row in rows if (row.difference or 0) > 0][:ENDS]
    worst = [row for row in reversed(rows) if (row.difference or 0) < 0][:ENDS]
    return _HTML.ends(best, worst, provoking_ids(evaluation)) if rows else ""
