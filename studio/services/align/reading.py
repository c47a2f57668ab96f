"""Sentences that read a training curve aloud, for people who have not read many. Pure functions over events."""

from __future__ import annotations

import math
from collections.abc import Sequence

from studio.domain.events import ProbeEvent, StepEvent

#: Loss of sigmoid DPO when policy and reference agree on every pair: -log(1/2).
NO_PREFERENCE = math.log(2)


def read_curve(
    steps: Sequence[StepEvent], probes: Sequence[ProbeEvent], *, loss_type: str, support_ratio: float
) -> list[str]:
    """What the curve says so far, most important first; empty before the first step.

    The rules compare the first and last tenth of the steps, so that one noisy batch does not change the sentence.
    """
    if not steps:
        return []
    tenth = max(1, len(steps) // 10)
    first, last = steps[:tenth], steps[-tenth:]
    loss = _mean([s.loss for s in last])
    margin_then, margin = _mean([s.margin for s in first]), _mean([s.margin for s in last])
    accuracy = _mean([s.accuracy for s in last])
    said: list[str] = []

    if any(not math.isfinite(s.loss) for s in steps):
        return [
            "The loss is not a number any more: the learning rate is too high. Stop, and train again with a lower one."
        ]
    if loss_type == "sigmoid":
        if abs(loss - NO_PREFERENCE) < 0.02:
            said.append(f"Loss {loss:.3f}: 0.693 = no preference yet; the adapter still answers as it began.")
        elif loss > NO_PREFERENCE + 0.05:
            said.append(
                f"Loss {loss:.3f} is above 0.693: the adapter is surer than the pairs justify. Usual with mixed sides and a "
                "high learning rate; look at the held-out stance before believing it."
            )
        else:
            said.append(f"Loss {loss:.3f}, down from 0.693 (= no preference): the preferred answers are winning.")
    else:
        said.append(f"Loss {loss:.3f} ({loss_type}; its starting value is not 0.693, so read the margin instead).")

    chosen_moves = _mean([s.reward_chosen for s in last]) - _mean([s.reward_chosen for s in first])
    rejected_moves = _mean([s.reward_rejected for s in last]) - _mean([s.reward_rejected for s in first])
    if chosen_moves < 0 and rejected_moves < 0 and margin > margin_then:
        said.append(
            "Both rewards fall but the margin grows: normal for DPO, which pushes rejected answers down harder."
        )
    elif margin < -0.05:
        said.append("The margin is negative: the adapter prefers the rejected answers in these batches.")

    memorised = next((s.step for s in steps if s.step <= 10 and s.accuracy >= 0.999), None)
    if memorised is not None and len(steps) > 10 and accuracy >= 0.99:
        said.append(f"Accuracy 1.0 by step {memorised}: the training pairs are memorised; look at the held-out stance.")
    if probes and probes[-1].step > 0:
        start, now = probes[0], probes[-1]
        moved = "the stance did not change"
        if now.share != start.share:
            moved = f"the stance went towards {'support' if now.share > start.share else 'oppose'}"
        said.append(
            f"On {now.n} held-out pairs {moved}: {start.share:.0%} → {now.share:.0%} (asked for {support_ratio:.0%})."
        )
    return said


def read_kto_curve(steps: Sequence[StepEvent], probes: Sequence[ProbeEvent]) -> list[str]:
    """:func:`read_curve` for a KTO run, whose first step has the loss of no preference: half the mean weight of its answers."""
    if not steps:
        return []
    if any(not math.isfinite(s.loss) for s in steps):
        return [
            "The loss is not a number any more: the learning rate is too high. Stop, and train again with a lower one."
        ]
    last = steps[-max(1, len(steps) // 10) :]
    loss, none = _mean([s.loss for s in last]), steps[0].loss
    liked, disliked = _mean([s.reward_chosen for s in last]), _mean([s.reward_rejected for s in last])
    if abs(loss - none) < 0.02:
        said = [f"Loss {loss:.3f}: {none:.3f} = no preference yet; the adapter still answers as it began."]
    else:
        said = [f"Loss {loss:.3f}; {none:.3f} = no preference. Below it, liked answers are ahead of disliked ones."]
    if liked < 0 and disliked < liked:
        said.append(
            "Liked answers became less likely too, disliked ones more so: usual at a high learning rate; a likelihood term holds them up."
        )
    elif liked < disliked:
        said.append("Disliked answers gained more than liked ones: it has not learned the thumbs of these batches.")
    if probes and probes[-1].step > 0:
        said.append(
            f"On {probes[-1].n} held-out pairs the liked answer is the likelier one in {probes[0].share:.0%} → {probes[-1].share:.0%}."
        )
    return said


def _mean(values: Sequence[float]) -> float:
    """The mean of those that are known: a step of KTO may have no answer of a kind."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
