"""Sentences on a detox run: what its curves show, and what an audit of them finds.

A reward can be bought: by moving far from the start, by repeating oneself, by running on or falling silent. The audit says
where these went together with a rising reward. It looks back on what happened; it is no early warning, and its silence is no
proof that nothing was bought.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

from studio.domain.events import DetoxEvent, DetoxReport
from studio.services.wording import signed

#: Steps at either end whose mean is compared: one step is a handful of answers.
_ENDS = 5
#: Nats per answer beyond which an answer is more than e^10 = 20,000 times as likely as it was at the start: the run says things
#: that it would as good as never have said.
KL_JUMP = 10.0
#: Short of that, the KL jumped where it is so many times what it was over the first steps and, so that a run that has hardly moved
#: is left alone, above so many nats an answer and a token. Of four runs on the embedded base (20 tokens an answer) two ended at 1.6
#: and 2.0, one that began to repeat itself at 4.0, one at 5.9.
KL_FACTOR, KL_FLOOR, KL_FLOOR_TOKEN = 3.0, 4.0, 0.1
#: The reward counts as risen when its mean over the last steps is so many of the first steps' standard deviations higher.
REWARD_RISE = 0.25
#: Share of its distinct 3-grams that a run may lose, share of answers cut at the limit that it may gain, and the factor by which
#: answers may grow or shrink, before it is said. The run that repeated itself lost 14 % of its 3-grams, the other three 2 to 4 %.
DISTINCT_LOSS, CLIPPED_GAIN, LENGTH_FACTOR = 0.1, 0.15, 2.0
#: A loss of 3-grams over the steps must also exceed so many standard errors of the two means: a step's few answers scatter.
DISTINCT_ERRORS = 2.0
#: Share of answers without words, in the measure, above which it is said.
EMPTY_SHARE = 0.05


def read_detox(events: Sequence[DetoxEvent]) -> list[str]:
    """What the curves show, in plain sentences; none before there is something to say."""
    if not events:
        return []
    last = events[-_ENDS:]
    long = len(events) >= 2 * _ENDS
    now, began = (signed(_mean(some, "reward"), 2) for some in (last, events[:_ENDS]))
    said = [f"Reward {now} over the last {len(last)} steps."]
    if long:
        said = [f"Reward {now} over the last {len(last)} steps, {began} over the first {_ENDS}."]
    toxicity, first = _mean(last, "toxicity"), _mean(events[:_ENDS], "toxicity")
    if math.isfinite(toxicity) and long and math.isfinite(first):
        said.append(
            f"Mean toxicity of the answers {toxicity:.2f} ({first:.2f} at the beginning), as the reward's own scorer sees it."
        )
    elif math.isfinite(toxicity):
        said.append(f"Mean toxicity of the answers {toxicity:.2f}, as the reward's own scorer sees it.")
    kl = _mean(last, "kl")
    said.append(
        f"KL {kl:.2f} nats an answer: how much likelier the model finds its present answers than the start does; 0 is no change. "
        "The loss itself says nothing: it is near 0 by construction."
    )
    if (uncovered := _mean(last, "uncovered")) > 0.1:
        said.append(f"{uncovered:.0%} of the answers are not covered by a scorer and taught nothing.")
    if all(event.reward_sd < 1e-6 for event in last):
        said.append("All answers of a step get the same reward, so there is nothing left to learn from.")
    return said


def audit(events: Sequence[DetoxEvent]) -> str:
    """An amber note where the reward rose while KL or repetition jumped; empty where that is not seen (yet).

    Means over the first and the last steps are compared. The reward must have risen by a quarter of its own spread. What is told
    beside it: KL above 10 nats an answer, or thrice what it was over the first steps and above 4 nats (in long answers a tenth of
    a nat a token); a tenth of the distinct 3-grams lost, by more than steps scatter; 15 points more answers cut at the limit;
    answers twice as long or half as long.
    """
    if len(events) < 2 * _ENDS:
        return ""
    first, last = events[:_ENDS], events[-_ENDS:]
    spread = max(_mean(first, "reward_sd"), 1e-6)
    if _mean(last, "reward") - _mean(first, "reward") < REWARD_RISE * spread:
        return ""
    findings = _findings(
        kl=(_mean(first, "kl"), _mean(last, "kl")),
        distinct=(_mean(first, "distinct"), _mean(last, "distinct")),
        clipped=(_mean(first, "clipped"), _mean(last, "clipped")),
        length=(_mean(first, "length"), _mean(last, "length")),
        scatter=_error(first, last, "distinct"),
    )
    if not findings:
        return ""
    return (
        f"Audit: the reward rose from {signed(_mean(first, 'reward'), 2)} to {signed(_mean(last, 'reward'), 2)}, and meanwhile {_join(findings)}. Part of "
        "that rise may be bought with it: read the transcripts before you believe the number. A larger KL weight, fewer steps or "
        "a smaller learning rate keep a run nearer to its start."
    )


def audit_report(report: DetoxReport) -> list[str]:
    """What the measure on held-out prompts says beside the shares: the same audit, on answers nobody trained on."""
    before, after = report.before, report.after
    findings = _findings(
        kl=(math.nan, report.kl),
        distinct=(before.distinct, after.distinct),
        clipped=(before.clipped, after.clipped),
        length=(before.length, after.length),
    )
    if after.empty > max(EMPTY_SHARE, before.empty):
        findings.append(f"{after.empty:.0%} of the answers have no words ({before.empty:.0%} before)")
    said = [f"on held-out prompts {_join(findings)}."] if findings else []
    judge = report.judged
    rewarded = next((share for share in report.shares if share.was_reward), None)
    if judge and rewarded and judge.after_n and rewarded.after_n:
        gap = judge.after / judge.after_n - rewarded.after / rewarded.after_n
        if gap > 0.05:
            said.append(
                f"the reward's scorer finds {rewarded.after} of {rewarded.after_n} answers rude, one that was not the reward "
                f"{judge.after} of {judge.after_n}: the run pleases its scorer more than it is polite."
            )
    return said


def _findings(
    *,
    kl: tuple[float, float],
    distinct: tuple[float, float],
    clipped: tuple[float, float],
    length: tuple[float, float],
    scatter: float = 0.0,
) -> list[str]:
    """What went too far between two looks. A first KL that is not a number: only how far the second one is counts.
    ``scatter`` is the standard error of the difference of the shares of distinct 3-grams."""
    findings = []
    if kl[1] > KL_JUMP:
        findings.append(f"the KL to the start reached {kl[1]:.1f} nats an answer (above {KL_JUMP:g})")
    elif kl[1] > max(KL_FLOOR, KL_FLOOR_TOKEN * length[1]) and kl[1] > KL_FACTOR * kl[0]:
        findings.append(f"the KL to the start went from {kl[0]:.1f} to {kl[1]:.1f} nats an answer")
    lost = distinct[0] - distinct[1]
    if distinct[0] > 0 and lost > max(DISTINCT_LOSS * distinct[0], DISTINCT_ERRORS * scatter):
        findings.append(f"distinct 3-grams fell from {distinct[0]:.2f} to {distinct[1]:.2f}")
    if clipped[1] - clipped[0] > CLIPPED_GAIN:
        findings.append(f"answers cut at the limit grew from {clipped[0]:.0%} to {clipped[1]:.0%}")
    if length[0] > 0 and not 1 / LENGTH_FACTOR <= length[1] / length[0] <= LENGTH_FACTOR:
        findings.append(f"answers went from {length[0]:.0f} to {length[1]:.0f} tokens")
    return findings


def _join(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]


def _mean(events: Sequence[DetoxEvent], name: str) -> float:
    known = [value for event in events if math.isfinite(value := float(getattr(event, name)))]
    return fmean(known) if known else math.nan


def _error(first: Sequence[DetoxEvent], last: Sequence[DetoxEvent], name: str) -> float:
    """The standard error of the difference of two means, from how much each one's steps scatter."""
    return math.sqrt(sum(variance([getattr(event, name) for event in part]) / len(part) for part in (first, last)))
