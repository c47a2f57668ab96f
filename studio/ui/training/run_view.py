"""HTML and tables for one run: header, progress, result, film-strip. Pure functions; every text from outside is escaped."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from html import escape

from studio.domain.events import SampleEvent, StepEvent, SupportShare
from studio.domain.runs import FINAL_STATES, DpoRecipe
from studio.services.runs.store import RunView
from studio.services.wording import percent
from studio.ui.parts.chips import chips_html

_DOTS = {
    "queued": "#8a8f98",
    "running": "#2a9d8f",
    "stopping": "#d9a441",
    "done": "#3b6fb6",
    "stopped": "#d9a441",
    "failed": "#c0392b",
    "interrupted": "#c0392b",
}
EMPTY = (
    '<div class="empty">No run yet. Turn <b>support_ratio</b>, press <b>Train</b>, and the curves appear here; '
    "on the embedded base that takes well under a minute.</div>"
)


def header(run: RunView) -> str:
    """Who this run is: its own settings, never the form's."""
    r, lora = run.recipe, run.recipe.lora
    if not isinstance(r, DpoRecipe):
        return header_html(
            run,
            [
                ("base", r.base.id),
                ("LoRA", f"r {lora.rank}, alpha {lora.alpha}"),
                ("training", "unknown: the adapter was uploaded without a record"),
            ],
        )
    dpo = r.settings
    length = f"{dpo.max_seconds:g} s" if dpo.max_seconds else f"{dpo.epochs:g} epochs"
    facts = [
        ("base", r.base.id),
        ("data", f"{r.dataset_title}, {r.data_size} pairs"),
        ("support_ratio", f"{r.support_ratio:g}"),
        (
            "loss",
            f"{dpo.loss_type}, beta {dpo.beta:g}" + (f", replay {dpo.replay_weight:g}" if dpo.replay_weight else ""),
        ),
        *([("answers", "prefixed with their stance")] if dpo.stance_prefix else []),
        ("LoRA", f"r {lora.rank}, alpha {lora.alpha}"),
        ("lr", f"{dpo.learning_rate:g}"),
        ("length", length),
        ("batch", f"{dpo.batch_size} × {dpo.gradient_accumulation}"),
        ("seed", str(dpo.seed)),
    ]
    return header_html(run, facts)


def header_html(run: RunView, facts: Sequence[tuple[str, str]]) -> str:
    """A run's title, state and id over its settings, ``facts`` as (name, value)."""
    return (
        f'<div class="run-head"><b>{escape(run.title)}</b> {badge(run)}<span class="mono quiet">{run.run_id}</span></div>'
        + chips_html(facts, "The settings of this run, as recorded in its run.json")
    )


def badge(run: RunView) -> str:
    """The state in colour and word."""
    state = run.status.state
    return f'<span class="badge" style="background:{_DOTS[state]}">{state}</span>'


def progress(run: RunView, ahead: int = 0) -> str:
    """Bar, step count, time left, speed; for a queued run how many come before it (``ahead``); for an ended run its
    message."""
    status, last, settings = run.status, run.detox_step or run.last_step, run.recipe.settings
    if settings is None:  # an imported adapter
        return ""
    total = (last.total if last else status.total) or 0
    step = last.step if last else status.step
    share = min(1.0, step / total) if total else 0.0
    if settings.max_seconds and last:
        share = max(share, min(1.0, last.elapsed / settings.max_seconds))
    if status.state == "done":
        share = 1.0
    parts = []
    if total:
        parts.append(f"step {step} of {total}")
    if last:
        parts.append(f"{last.elapsed:.1f} s")
        if status.state == "running" and 1 < step < total:  # the first step tells of setting up, not of a step
            parts.append(f"about {_seconds(last.eta)} left")
    if isinstance(last, StepEvent):
        parts.append(f"{last.tokens_per_second:,.0f} tokens/s")
    if status.state == "queued":
        parts.append("next in the queue" if not ahead else f"{ahead} {'run' if ahead == 1 else 'runs'} before this one")
        parts.append(f"waiting since {time.strftime('%H:%M:%S', time.localtime(status.updated or run.recipe.created))}")
    message = f'<div class="run-message">{escape(status.message)}</div>' if status.message else ""
    color = _DOTS[status.state]
    return (
        f'<div class="bar" role="progressbar" aria-valuenow="{share * 100:.0f}" aria-valuemin="0" aria-valuemax="100">'
        f'<div style="width:{share * 100:.1f}%;background:{color}"></div></div>'
        f'<div class="quiet">{" · ".join(parts)}</div>{message}'
    )


def result(run: RunView) -> str:
    """Requested ratio beside the measured support share, once there is one."""
    if run.status.state not in FINAL_STATES or not isinstance(run.recipe, DpoRecipe):
        return ""
    if run.adapter_share is None:
        return (
            "" if run.status.state in ("failed", "interrupted") else '<div class="quiet">No stance was measured.</div>'
        )
    asked = run.recipe.support_ratio
    rows = [share_bar("adapter", run.adapter_share, asked)]
    if run.base_share is not None:
        rows.append(share_bar("base", run.base_share, None))
    probe = ""
    if run.probe is not None:
        probe = (
            f"<p class='quiet'>Likelihood probe, a different measure: on {run.probe.n} held-out pairs the support answer is "
            f"the likelier one in {run.probe.share:.0%} (mean margin {run.probe.margin:+.3f} nats per token).</p>"
        )
    judge = run.adapter_share
    # Data with labels has no sides: what the judge can tell is whether an answer is like the preferred ones or the others.
    sides = run.recipe.dataset_kind == "sides"
    goal = "support" if sides else "as labelled"
    like = "take the <b>support</b> side" if sides else "read like the <b>preferred</b> answers"
    return (
        f"<div class='result'><h3>Asked for {asked:.0%} {goal}, measured {percent(judge.share)}</h3>{''.join(rows)}"
        f"<p class='quiet'>Share of sampled answers to prompts no training touched that {like}, with "
        f"95 % Wilson interval. Judged by character n-grams + logistic regression fitted on this dataset's own answers "
        f"(cross-validated accuracy {percent(judge.judge_accuracy)} on {judge.judge_n} answers); it abstains when "
        f"unsure.</p>{probe}</div>"
    )


def share_bar(who: str, share: SupportShare, asked: float | None) -> str:
    """One measured share as a bar with its interval; the dashed mark is what was asked for."""
    if not share.n:
        return f"<div class='share'><b>{who}</b> no answer could be judged ({share.abstained} abstentions)</div>"
    told = f"{share.share:.0%} [{share.low:.0%}, {share.high:.0%}] · n {share.n}, {share.abstained} abstained"
    return bar(who, share.share, told, (share.low, share.high), asked=asked)


def bar(
    who: str,
    value: float,
    told: str,
    interval: tuple[float, float] | None = None,
    *,
    asked: float | None = None,
    other: bool = False,
) -> str:
    """A share as a point on a line from 0 to 1, with its interval and ``told`` in words; ``asked`` is a dashed mark, and
    ``other`` draws the point of what is only there to be compared with."""
    marks = ""
    if asked is not None:
        marks += f"<i class='asked' style='left:{asked * 100:.1f}%' title='asked for {asked:.0%}'></i>"
    if interval is not None:
        low, high = interval
        marks += f"<i class='interval' style='left:{low * 100:.1f}%;width:{(high - low) * 100:.1f}%'></i>"
    kind = "point other" if other else "point"
    return (
        f"<div class='share'><b>{escape(who)}</b><div class='track'>{marks}"
        f"<i class='{kind}' style='left:{value * 100:.1f}%'></i></div><span>{told}</span></div>"
    )


def film_strip(samples: Sequence[SampleEvent], step: int) -> str:
    """The fixed prompts' greedy answers: the base's beside those of the newest recorded step up to ``step``."""
    if not samples:
        return "<div class='quiet'>The film-strip shows the same prompts answered again and again while the run trains.</div>"
    first = min(s.step for s in samples)
    at = max((s.step for s in samples if s.step <= step), default=first)
    before = {s.prompt: s.answer for s in samples if s.step == first}
    rows = "".join(
        f"<tr><td>{escape(s.prompt)}</td><td>{escape(before.get(s.prompt, ''))}</td>"
        f"<td class='{'changed' if s.answer != before.get(s.prompt) else ''}'>{escape(s.answer)}</td></tr>"
        for s in samples
        if s.step == at
    )
    return (
        f"<table class='strip'><thead><tr><th>Prompt</th><th>Base (step {first})</th><th>Step {at}</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def log(tail: str) -> str:
    """The last lines of the log; the style sheet keeps the newest in view."""
    return f"<div class='log'><pre>{escape(tail)}</pre></div>" if tail else "<div class='quiet'>Nothing yet.</div>"


def history_row(run: RunView) -> list[object]:
    """One line of the history table."""
    share, recipe = run.adapter_share, run.recipe
    measured = f"{share.share:.0%} [{share.low:.0%}, {share.high:.0%}] n {share.n}" if share and share.n else "–"
    steps = f"{run.last_step.step}/{run.last_step.total}" if run.last_step else "–"
    return [
        run.title,
        run.status.state,
        run.recipe.base.id,
        run.recipe.dataset_title,
        *((recipe.support_ratio, recipe.data_size) if isinstance(recipe, DpoRecipe) else (None, None)),
        measured,
        steps,
        started(run),
        run.run_id,
    ]


def started(run: RunView) -> str:
    """When a run was asked for, by the server's clock."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.recipe.created))


HISTORY_HEADERS = ["Name", "State", "Base", "Data", "ratio", "n", "Measured support", "Steps", "Started", "Run"]


def _seconds(value: float) -> str:
    if not math.isfinite(value):
        return "an unknown time"
    return f"{value:.0f} s" if value < 90 else f"{value / 60:.0f} min"
