"""What the Sweep section shows of a sweep. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from studio.domain.events import SampleEvent
from studio.domain.sweeps import Axis, Sweep, SweepRun
from studio.i18n import said
from studio.services.runs.store import RunView
from studio.services.sweeps.result import NAMES, answers_to, line_of, sentences, value
from studio.services.sweeps.service import SweepView
from studio.services.wording import NONE, bounds
from studio.ui.page import theme
from studio.ui.parts.html import Macros

_HTML = Macros("sweeps/view.html")
HEADERS = ("Value", "Seed", "State", "Steps", "Measured support", "What happened", "Run id")
WIDTHS = ("190px", "60px", "100px", "70px", "190px", "240px", "270px")


def about() -> Markup:
    """What a sweep is."""
    return _HTML.about()


def empty() -> Markup:
    """What stands there before the first sweep."""
    return _HTML.empty()


def head(view: SweepView, note: str) -> Markup:
    """Progress of the whole and what it says; ``note`` is what else is going on."""
    working = next((run for run in view.here if run.status.state in ("running", "stopping")), None)
    status = working.status if working else None
    within = min(1.0, status.step / status.total) if status and status.total else 0.0
    share = (view.ended + within) / len(view.runs)
    failed = any(run.status.state == "failed" for run in view.here)
    state = "running" if view.moving else "failed" if failed else "stopped" if view.resumable else "done"
    doing = f"{working.title}, step {status.step} of {status.total or NONE}" if working and status else ""
    return _HTML.head(
        view.sweep, view.ended, len(view.runs), share, theme.STATE_COLORS[state], doing, sentences(view), note
    )


def row(view: SweepView, planned: SweepRun, run: RunView | None) -> list[object]:
    """A run's line of the table, its id last."""
    name, seed = named(view.sweep, planned), planned.seed
    if run is None:
        return [name, seed, said("deleted"), NONE, NONE, "", planned.run]
    status = run.status
    steps = f"{status.step}/{status.total}" if status.total else NONE
    return [name, seed, said(status.state), steps, measured(run), said(status.message), run.run_id]


def named(sweep: Sweep, planned: SweepRun) -> str:
    """What sets a run apart but its seed."""
    at = value(planned, sweep.axis)
    own = f"{said(NAMES[sweep.axis])} {at if isinstance(at, str) else format(at, 'g')}"
    return f"{own}, {line}" if (line := line_of(sweep, planned)) else own


def measured(run: RunView) -> str:
    """A run's measured share in words."""
    share = run.adapter_share
    return f"{share.share:.0%} {bounds(share.low, share.high)} n {share.n}" if share and share.n else NONE


def small_multiples(view: SweepView, samples: Sequence[Sequence[SampleEvent]], prompt: str) -> Markup:
    """The same question answered by every run of the first seed; ``samples`` are the runs' film-strips in their order."""
    first = view.sweep.runs[0].seed
    cards = [
        (named(view.sweep, planned), measured(run), answer)
        for (planned, run), answer in zip(view.pairs(), answers_to(samples, prompt), strict=True)
        if planned.seed == first and run is not None
    ]
    return _HTML.answers(cards)


#: What the box of values holds when what is varied changes.
EXAMPLES: dict[Axis, str] = {
    "ratio": "0, 0.25, 0.5, 0.75, 1",
    "loss": "sigmoid, robust, ipo",
    "data_size": "10, 25, 50",
    "beta": "0.05, 0.1, 0.5",
}
