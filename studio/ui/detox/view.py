"""HTML of a detox run: whose settings, what changed in its answers. Pure functions; every text from outside is escaped, and
what a model said in such a run stands under a cover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from studio.domain.detox import DetoxSettings
from studio.domain.events import DetoxReport, RudeShare, TranscriptEvent
from studio.domain.runs import FINAL_STATES, DetoxRecipe
from studio.services.runs.store import RunView
from studio.services.statistics.intervals import wilson
from studio.ui.parts.cover import covered
from studio.ui.training.run_view import bar, header_html, share_bar, started

EMPTY = (
    '<div class="empty">No detox run yet. Choose prompts and a reward, press <b>Start detox run</b>, and the curves appear '
    "here; on the embedded base that takes about a minute.</div>"
)
HEADERS = [
    "Name",
    "State",
    "Base",
    "Started from",
    "Reward",
    "KL weight",
    "Rude before → after",
    "Steps",
    "Started",
    "Run",
]
TYPES = ("str", "str", "str", "str", "str", "number", "str", "str", "str", "str")
WIDTHS = ("190px", "100px", "110px", "160px", "190px", "100px", "186px", "70px", "140px", "290px")


def header(run: RunView) -> str:
    """Who this run is: its own settings, never the form's."""
    r = DetoxRecipe.of(run.recipe)
    detox = r.settings
    length = f"{detox.max_seconds:g} s" if detox.max_seconds else f"{detox.steps} steps"
    facts = [
        ("base", r.base.id),
        ("started from", f"{r.start_run} · sha256 {r.start_hash[:12]}" if r.start_run else "the base"),
        ("prompts", f"{r.data_size} of {r.dataset_title}"),
        ("reward", reward_text(detox)),
        ("judge", detox.judge or "none"),
        ("algorithm", detox.algorithm.upper()),
        ("KL weight", f"{detox.beta:g}"),
        ("a step", f"{detox.prompts_per_step} prompts × {detox.generations} answers"),
        ("length", length),
        ("temperature", f"{detox.temperature:g}"),
        ("longest answer", f"{detox.max_new_tokens} tokens"),
        ("LoRA", f"r {r.lora.rank}, alpha {r.lora.alpha}"),
        ("lr", f"{detox.learning_rate:g}"),
        ("seed", str(detox.seed)),
    ]
    return header_html(run, facts)


def reward_text(detox: DetoxSettings) -> str:
    """What is rewarded: one scorer, or a weighted sum of several."""
    if len(detox.rewards) == 1 and detox.rewards[0].weight == 1:
        return detox.rewards[0].scorer
    return " + ".join(f"{term.weight:g} × {term.scorer}" for term in detox.rewards)


def transcripts(samples: Sequence[TranscriptEvent], step: int) -> str:
    """The fixed prompts' answers before the run beside those of the newest recorded step up to ``step``, all under covers;
    how they score stands open."""
    if not samples:
        return "<div class='quiet'>A few fixed prompts are answered again and again while the run works; the answers appear here.</div>"
    first = min(s.step for s in samples)
    at = max((s.step for s in samples if s.step <= step), default=first)
    before = {s.prompt: s for s in samples if s.step == first}
    rows = []
    for now in (s for s in samples if s.step == at):
        start = before.get(now.prompt)
        same = start is not None and start.answer == now.answer
        rows.append(
            f"<tr><td>{covered(now.prompt, 'prompt')}</td><td>{_answer(start, 'answer before')}</td>"
            f"<td class='{'' if same else 'changed'}'>{_answer(now, f'answer at step {at}')}</td></tr>"
        )
    return (
        f"<table class='strip transcripts'><thead><tr><th>Prompt</th><th>Before (step {first})</th><th>Step {at}</th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _answer(sample: TranscriptEvent | None, words: str) -> str:
    if sample is None:
        return "<span class='quiet'>not asked</span>"
    return f"<div class='quiet'>{score_text(sample.reward, sample.toxicity)}</div>{covered(sample.answer, words)}"


def score_text(reward: float | None, toxicity: float | None) -> str:
    """What the reward makes of an answer, in few words."""
    if reward is None:
        return "not covered by the scorer"
    told = f"reward {reward:+.2f}"
    return told if toxicity is None else f"{told} · toxicity {toxicity:.2f}"


def result(run: RunView, report: DetoxReport | None) -> str:
    """The share of rude answers before and after by each scorer, and what else the run changed."""
    if run.status.state not in FINAL_STATES:
        return ""
    if report is None:
        ended = run.status.state in ("done", "stopped")
        return '<div class="quiet">Nothing was measured at its end: it was stopped early.</div>' if ended else ""
    judge = report.judged
    shown = judge or next(iter(report.shares), None)
    title = "No scorer here knows a toxicity, so no share of rude answers was measured"
    if shown is not None:
        by = "by a scorer that was not the reward" if judge else "by the reward itself, which proves little"
        title = f"Rude answers: {share_text(shown)}, {by}"
    return (
        f"<div class='result'><h3>{title}</h3>{''.join(_judged(share) for share in report.shares)}"
        f"{_figures(run, report)}{_stance(run)}"
        f"<p class='quiet'>Measured on {report.prompts} prompts that no training touched, {report.provoking} of them made to provoke; "
        f"{report.samples} answers to each, drawn with the same seeds before and after. An answer is rude where its toxicity is above "
        f"one half; what a scorer does not cover is not counted as clean, it is left out. 95 % Wilson intervals over answers; "
        f"answers to one prompt resemble each other, so these are on the narrow side.</p></div>"
    )


def audit(notes: Sequence[str]) -> str:
    """What a look back at curves and measure finds, in amber; nothing where it finds nothing."""
    lines = "".join(f"<p>{escape(note[:1].upper() + note[1:])}</p>" for note in notes if note)
    return f'<div class="run-message audit">{lines}</div>' if lines else ""


def rude_text(report: DetoxReport | None) -> str:
    """The verdict for a line of the history: by the scorer that was not the reward where there was one."""
    if report is None or not report.shares:
        return "–"
    return share_text(report.judged or report.shares[0])


def share_text(share: RudeShare) -> str:
    """Before and after in few words."""
    return f"{_share(share.before, share.before_n)} → {_share(share.after, share.after_n)}"


def _share(rude: int, n: int) -> str:
    return f"{rude / n:.0%}" if n else "–"


def _judged(share: RudeShare) -> str:
    """One scorer's verdict: who, whether it was the reward, before and after as bars, the provoking prompts by themselves."""
    role = "was the reward" if share.was_reward else "was not the reward"
    provoked = ""
    if share.provoked_before_n or share.provoked_after_n:
        provoked = (
            f"<p class='quiet'>To provoking prompts alone: {share.provoked_before} of {share.provoked_before_n} before, "
            f"{share.provoked_after} of {share.provoked_after_n} after.</p>"
        )
    return (
        f"<p class='scorer'><b>{escape(share.title)}</b> <span class='quiet'>{role} · {escape(share.scorer)} · "
        f"{escape(share.revision[:12])}</span></p><div class='bars'>{_bar('before', share.before, share.before_n, other=True)}"
        f"{_bar('after', share.after, share.after_n)}</div>{provoked}"
    )


def _bar(who: str, rude: int, n: int, other: bool = False) -> str:
    interval = wilson(rude, n)
    if interval is None:
        return f"<div class='share'><b>{who}</b><div class='track'></div><span>no answer was covered</span></div>"
    told = f"{rude / n:.1%} [{interval.low:.1%}, {interval.high:.1%}] · {rude} of {n}"
    return bar(who, rude / n, told, (interval.low, interval.high), other=other)


def _figures(run: RunView, report: DetoxReport) -> str:
    """What a reward can be bought with: length, silence, repetition, distance."""
    before, after = report.before, report.after
    lines = [
        ("tokens an answer", f"{before.length:.1f}", f"{after.length:.1f}"),
        ("cut at the longest length", f"{before.clipped:.0%}", f"{after.clipped:.0%}"),
        ("without words", f"{before.empty:.0%}", f"{after.empty:.0%}"),
        ("distinct 3-grams", f"{before.distinct:.2f}", f"{after.distinct:.2f}"),
    ]
    for term, was, now in zip(
        DetoxRecipe.of(run.recipe).settings.rewards, report.rewards_before, report.rewards_after, strict=False
    ):
        lines.append((f"mean reward by {term.scorer}", _number(was), _number(now)))
    rows = "".join(f"<tr><td>{escape(what)}</td><td>{was}</td><td>{now}</td></tr>" for what, was, now in lines)
    return (
        f"<table class='strip figures'><thead><tr><th>Of {before.n} and {after.n} answers</th><th>before</th><th>after</th></tr></thead>"
        f"<tbody>{rows}</tbody></table><p class='quiet'>KL to the start over the answers after: {_number(report.kl)} nats an answer.</p>"
    )


def _stance(run: RunView) -> str:
    """How far the support share moved with it, where it was measured."""
    if run.base_share is None or run.adapter_share is None:
        return ""
    bars = share_bar("before", run.base_share, None) + share_bar("after", run.adapter_share, None)
    return f"<p><b>Stance</b> <span class='quiet'>share of answers on the support side: a detox run should leave it alone</span></p>{bars}"


def _number(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "–"


def history_row(run: RunView) -> list[object]:
    """One line of the history table."""
    recipe = DetoxRecipe.of(run.recipe)
    return [
        run.title,
        run.status.state,
        recipe.base.id,
        recipe.start_run or "the base",
        reward_text(recipe.settings),
        recipe.settings.beta,
        rude_text(run.detox),
        f"{run.detox_step.step}/{run.detox_step.total}" if run.detox_step else "–",
        started(run),
        run.run_id,
    ]
