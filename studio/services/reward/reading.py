"""Sentences on a reward run: what its curves show while it trains, and what its report allows anybody to claim."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from studio.domain.events import ProbeEvent, RewardReport, StepEvent
from studio.services.statistics.intervals import wilson
from studio.services.wording import counted, signed

#: Training accuracy this much above the held-out one, and above what chance can make of that one, reads as learning by heart.
_GAP = 0.2
#: Steps at the end whose mean is looked at: a single step is a handful of pairs.
_LAST = 5


def read_reward(steps: Sequence[StepEvent], probes: Sequence[ProbeEvent]) -> list[str]:
    """What the curves show, in plain sentences; none before there is something to say."""
    if not steps:
        return []
    last = steps[-_LAST:]
    loss, accuracy, margin = (fmean(getattr(step, name) for step in last) for name in ("loss", "accuracy", "margin"))
    said = [
        f"Loss {loss:.3f} over the last {len(last)} steps (0.693 is a coin toss); margin {signed(margin, 2)}: the preferred answer's "
        f"reward less the other's, on the pairs in training."
    ]
    if probes:
        probe = probes[-1]
        interval = wilson(probe.share * probe.n, probe.n)
        said.append(
            f"On {counted(probe.n, 'held-out pair')} the preferred answer has the higher reward in {probe.share:.0%}."
        )
        if len(steps) >= _LAST and interval is not None and accuracy > max(probe.share + _GAP, interval.high):
            said.append(
                f"In training it is right in {accuracy:.0%}, far more than on pairs it never saw: it learns its pairs by heart. Fewer "
                "epochs, a lower rank or more pairs help."
            )
    return said


def majority_name(report: RewardReport) -> str:
    """The first baseline by name. Data without sides (or with as many of each) has no majority side: there it is a coin."""
    return "a coin toss" if report.majority == 0.5 else "“always the side preferred more often in training”"


def claim(report: RewardReport) -> str:
    """What may be said of the result: that something was learned only where the interval lies above both baselines."""
    if not report.n:
        return "There were no held-out pairs, so nothing can be said of it."
    interval = f"the 95 % interval of its accuracy, {report.low:.0%} to {report.high:.0%},"
    better, baseline = max((report.majority, majority_name(report)), (report.longer, "“the longer answer wins”"))
    if report.learned:
        return f"Better than both baselines: {interval} lies above the better one, {baseline} ({better:.0%})."
    if report.majority >= 1:
        known = report.low > max(0.5, report.longer)
        sides = (
            f"It does tell the sides apart: {interval} lies above a coin toss and above “the longer answer” ({report.longer:.0%})."
            if known
            else f"Nor is it shown to tell the sides apart: {interval} holds a coin toss or “the longer answer” ({report.longer:.0%})."
        )
        return (
            "Not claimed to have learned more than the side: all held-out pairs of this data follow one side, so “always that "
            f"side” is right in every one and no accuracy can be above it. {sides}"
        )
    if report.high < better:
        return f"Nothing was learned that holds: {interval} lies below {baseline} ({better:.0%})."
    return (
        f"Not shown to have learned anything: {interval} reaches down to {baseline} ({better:.0%}). More pairs, "
        "or more held-out ones, would tell."
    )
