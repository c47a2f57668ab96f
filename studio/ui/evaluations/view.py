"""What the page shows of a before/after evaluation: progress, sentences, figures, the table of pairs. Pure functions; answers
stand under covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from studio.domain.evaluations import Evaluation, EvaluationRow
from studio.services.evaluations.reading import figure_lines, footing, headline
from studio.services.evaluations.service import EvaluationStatus
from studio.services.evaluations.statistics import Comparison
from studio.services.evaluations.table import ends, provoking_ids
from studio.services.wording import counted, duration
from studio.ui.page.theme import BAD_COLOR, NEUTRAL_COLOR, SUPPORT_COLOR, WARN_COLOR
from studio.ui.parts.html import Macros

_HTML, _PARTS = Macros("evaluations/view.html"), Macros("pages/evaluation_parts.html")
#: Rows of the table on one page.
PAGE = 25
_ENDED = {"done": "Done.", "cancelled": "Cancelled; what was made is kept. Resume goes on."}
_COLORS = {"failed": BAD_COLOR, "interrupted": WARN_COLOR, "cancelled": NEUTRAL_COLOR}


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
    adapters = figure_lines(comparison, names)
    return _PARTS.figures(adapters) if adapters else ""


def pairs_html(
    evaluation: Evaluation, rows: Sequence[EvaluationRow], page: int, names: Mapping[str, str], worst_first: bool
) -> Markup:
    """One page of the table; ``rows`` are those that passed the filter, most improved first."""
    ordered = worst_order(rows) if worst_first else list(rows)
    several = len(evaluation.spec.adapters) > 1
    shown = ordered[page * PAGE : (page + 1) * PAGE]
    return _PARTS.pairs(shown, provoking_ids(evaluation), names if several else None)


def worst_order(rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
    """Those that got worse first; those without a difference stay last."""
    known = [row for row in rows if row.difference is not None]
    return [*reversed(known), *(row for row in rows if row.difference is None)]


def pages(rows: int) -> int:
    """How many pages so many rows take, at least one."""
    return max(1, -(-rows // PAGE))


def ends_html(evaluation: Evaluation) -> str:
    """The transcripts that changed most for the better and for the worse."""
    best, worst = ends(evaluation)
    return _PARTS.ends(best, worst, provoking_ids(evaluation)) if best or worst else ""
