"""HTML of scored texts and of who scores. Pure functions; every text from outside is escaped."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape

from studio.domain.toxicity import ScorerInfo, TextScore
from studio.services.scoring.service import TextScores
from studio.ui.parts.chips import chips_html
from studio.ui.parts.cover import covered
from studio.ui.reward.view import cut_told

EMPTY = (
    '<div class="empty">Nothing scored yet. Write or paste texts, one a line, choose who scores, and press <b>Score</b>: '
    "each text gets its probability, its logits and its reward here.</div>"
)
#: Rows drawn on the page, and characters of a text in one; the files hold everything.
MAX_ROWS, MAX_SHOWN = 200, 600
#: Over this a text is taken for toxic, and covered.
OVER = 0.5
_LANGUAGES = {"en": "English", "zh": "Chinese"}


def who(info: ScorerInfo) -> str:
    """What a scorer measures, and its name and revision."""
    return f'<div class="who">{escape(info.measures)} {named(info)}</div>'


def named(info: ScorerInfo) -> str:
    """Name, revision, toxic label and languages of a scorer, as chips."""
    facts = [("scorer", info.name), ("revision", info.revision[:12] or "unknown")]
    if info.toxic_label:
        facts.append(("toxic label", info.toxic_label))
    if info.languages:
        facts.append(("covers", ", ".join(_LANGUAGES.get(code, code) for code in info.languages)))
    return chips_html(facts)


def scored(found: TextScores) -> str:
    """The scores of some texts: what they come to, who scored, and a row a text."""
    order = list(range(len(found.texts)))
    left = ""
    if len(order) > MAX_ROWS:
        order = sorted(order, key=lambda index: _worst_first(found.scores[index]))[:MAX_ROWS]
        left = (
            f'<p class="quiet">The {MAX_ROWS} of {len(found.texts):,} texts with the lowest rewards are drawn, lowest first; the files '
            "hold all.</p>"
        )
    rows = "".join(_row(index + 1, found.texts[index], found.scores[index], found.info) for index in order)
    return (
        f"{summary(found)}{who(found.info)}{left}<table class='strip scored'><thead><tr><th></th><th>Text</th>"
        f"<th>{_column(found.info)}</th><th>Reward</th><th>Logits</th><th>Label</th></tr></thead><tbody>{rows}</tbody></table>"
        f"<p class='quiet'>{_legend(found.info)}</p>"
    )


def summary(found: TextScores) -> str:
    """One line: how many, mean and standard deviation, how many over a half, what was not covered or cut."""
    known = [score.toxicity for score in found.scores if score.toxicity is not None]
    rewards = [score.reward for score in found.scores if score.reward is not None]
    lost = len(found.scores) - len(rewards)
    parts = [f"<b>{len(found.scores):,}</b> {'text' if len(found.scores) == 1 else 'texts'}"]
    if known:
        parts.append(f"mean toxicity {_spread(known, '.3f')}")
        parts.append(f"over 0.5: <b>{sum(value > OVER for value in known)}</b> of {len(known)}")
    elif rewards:
        parts.append(f"mean reward {_spread(rewards, '+.3f')}")
    if lost:
        parts.append(f"not covered, thus not counted: <b>{lost}</b>")
    if cut := sum(score.cut > 0 for score in found.scores):
        parts.append(f"longer than it reads, cut: <b>{cut}</b>")
    return f'<div class="score-sum">{" · ".join(parts)}</div>'


def pane_line(info: ScorerInfo, score: TextScore) -> str:
    """What stands below an answer in Compare."""
    title = escape(f"{info.name}, revision {info.revision}: {info.measures}", quote=True)
    if not score.covered:
        told = "<b>not covered</b>"
    elif score.toxicity is None:
        told = f"reward <b>{score.reward:+.3f}</b>{cut_told(score.cut)}"
    else:
        told = f"toxicity <b>{score.toxicity:.3f}</b> · reward <b>{score.reward:+.3f}</b>"
    return f'{told} <span class="quiet mono" title="{title}">{escape(info.name)} @ {escape(info.revision[:12])}</span>'


def _worst_first(score: TextScore) -> float:
    return float("inf") if score.reward is None else score.reward


def _spread(values: Sequence[float], form: str) -> str:
    mean = f"<b>{format(statistics.fmean(values), form)}</b>"
    return f"{mean} ± {statistics.stdev(values):.3f} (sd)" if len(values) > 1 else mean


def _column(info: ScorerInfo) -> str:
    return f"Probability of “{escape(info.toxic_label)}”" if info.toxic_label else "Probability"


def _legend(info: ScorerInfo) -> str:
    if info.kind == "reward":
        return (
            "The reward is this run's output; it knows no probability of one text, and only the difference between answers to "
            "the same prompt means anything."
        )
    if info.kind == "embedded":
        return "The reward is the log-odds of not toxic: 0 at a probability of a half, higher is better. Texts over 0.5 are blurred until clicked."
    return (
        "The reward is the not-toxic logit (of several labels at once: the toxic logit with its sign turned); higher is better. "
        "Texts over 0.5 are blurred until clicked."
    )


def _row(number: int, text: str, score: TextScore, info: ScorerInfo) -> str:
    logits = ", ".join(f"{value:+.3f}" for value in score.logits[:8]) + (", …" if len(score.logits) > 8 else "")
    pairs = zip(info.labels, score.logits, strict=False)
    names = escape("; ".join(f"{name} {value:+.4f}" for name, value in pairs), quote=True)
    reward = "–" if score.reward is None else f"<b>{score.reward:+.3f}</b>"
    cut = "" if not score.cut else f' <span class="quiet">({score.cut:,} {_unit(info)} left out)</span>'
    return (
        f"<tr><td class='n'>{number}</td><td class='text'>{_text(text, score)}{cut}</td><td class='p'>{_bar(score)}</td>"
        f"<td class='n' data-of='reward'>{reward}</td><td class='n logits' data-of='logits' title=\"{names}\">{logits or '–'}</td>"
        f"<td data-of='label'>{_label(score)}</td></tr>"
    )


def _unit(info: ScorerInfo) -> str:
    return "characters" if info.kind == "embedded" else "tokens"


def _text(text: str, score: TextScore) -> str:
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    if score.toxicity is not None and score.toxicity > OVER:
        return covered(shown, "text")
    return f'<div class="said" dir="auto">{escape(shown)}</div>'


def _bar(score: TextScore) -> str:
    if not score.covered:
        return '<span class="uncovered">not covered</span>'
    if score.toxicity is None:
        return "–"
    kind = "over" if score.toxicity > OVER else "under"
    return (
        f"<div class='prob'><div class='track'><i class='{kind}' style='width:{score.toxicity * 100:.1f}%'></i></div>"
        f"<b>{score.toxicity:.3f}</b></div>"
    )


def _label(score: TextScore) -> str:
    if not score.covered:
        return '<span class="quiet">no verdict</span>'
    return escape(score.label) or "–"
