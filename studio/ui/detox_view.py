"""HTML of a detox run: whose settings, what changed in its answers. Pure functions; every text from outside is escaped, and
what a model said in such a run stands under a cover."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from studio.detox import DetoxSettings, TranscriptEvent
from studio.services.runs import RunView
from studio.ui.cover import covered
from studio.ui.run_view import badge

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
WIDTHS = ("190px", "100px", "110px", "160px", "190px", "84px", "160px", "70px", "140px", "290px")


def header(run: RunView) -> str:
    """Who this run is: its own settings, never the form's."""
    r, detox = run.recipe, run.recipe.detox_settings
    length = f"{detox.max_seconds:g} s" if detox.max_seconds else f"{detox.steps} steps"
    facts = [
        ("base", r.base.id),
        ("started from", f"{r.start_run} · sha256 {r.start_hash[:12]}" if r.start_run else "the base"),
        ("prompts", f"{r.data_size} of {r.dataset_title}"),
        ("reward", reward_text(detox)),
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
    chips = "".join(f'<span class="chip"><i>{k}</i> {escape(v)}</span>' for k, v in facts)
    return (
        f'<div class="run-head"><b>{escape(run.title)}</b> {badge(run)}<span class="mono quiet">{run.run_id}</span></div>'
        f'<div class="chips" title="The settings of this run, as recorded in its run.json">{chips}</div>'
    )


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


def history_row(run: RunView) -> list[object]:
    """One line of the history table."""
    recipe = run.recipe
    return [
        run.title,
        run.status.state,
        recipe.base.id,
        recipe.start_run or "the base",
        reward_text(recipe.detox_settings),
        recipe.detox_settings.beta,
        "–",
        f"{run.last_step.step}/{run.last_step.total}" if run.last_step else "–",
        time.strftime("%Y-%m-%d %H:%M", time.localtime(recipe.created)),
        run.run_id,
    ]
