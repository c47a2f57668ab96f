"""What one pane shows around its conversation: who is answering, how fast, and whether the base is the base. Pure functions;
every text from outside is escaped."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from studio.domain.chat import BASE, BaseCheck, PaneUpdate
from studio.domain.data import Message
from studio.domain.runs import PairRecipe
from studio.services.runs.store import RunView
from studio.services.wording import counted
from studio.ui.parts.chips import chips_html

EMPTY = (
    '<div class="empty">Only the base model is here so far. Train an adapter under <b>Align</b> (well under a minute on the '
    "embedded base) and it appears beside the base; until then, chat with the base.</div>"
)
PLACEHOLDER = "Nothing asked yet."
#: The chat's copy buttons copy what is written (see :func:`literal`); with this script of the page, what was said. Where a page has
#: no clipboard of its own (plain http beyond this machine), the button copies out of a text field that it makes below the body.
COPY_WHAT_WAS_SAID = """() => {
  const said = (text) => text.replace(/&(lt|amp);/g, (_, name) => (name === "lt" ? "<" : "&"));
  let inChat = false;
  document.addEventListener("click", (event) => { inChat = Boolean(event.target.closest(".chat")); }, true);
  document.addEventListener("copy", (event) => {
    if (!inChat || event.target.tagName !== "TEXTAREA" || event.target.parentElement !== document.body) return;
    event.clipboardData.setData("text/plain", said(event.target.value));
    event.preventDefault();
  });
  if (!navigator.clipboard) return;
  const write = navigator.clipboard.writeText.bind(navigator.clipboard);
  navigator.clipboard.writeText = (text) => write(inChat ? said(text) : text);
}"""
OPEN_QUESTION = '<div class="pane-stats">Not answered yet; <b>Retry</b> asks again.</div>'


@dataclass(frozen=True)
class BaseFacts:
    """The base model behind the panes: its id, the start of its fingerprint where known, and the newest check."""

    id: str
    fingerprint: str = ""
    check: BaseCheck | None = None


def literal(text: str) -> str:
    """``text`` such that the chat shows it to the letter: the Chatbot reads even plain text as HTML. Only what would be
    read as a tag, comment or character reference is written otherwise; :data:`COPY_WHAT_WAS_SAID` reads it back."""
    if html.unescape(text) != text:
        text = text.replace("&", "&amp;")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def bubbles(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A conversation as the Chatbot takes it."""
    return [{"role": message.role, "content": literal(message.content)} for message in messages]


def identity(choice: str, run: RunView | None, base: BaseFacts, system_prompt: str, trouble: str = "") -> str:
    """Who answers in a pane. ``run`` is None for the base, and for a run that is gone; ``trouble`` is one sentence on why
    it cannot answer."""
    if choice == BASE:
        chips = [("base", _base_name(base.id)), ("sha256", base.fingerprint[:12])]
        return _box("Base model, nothing added", chips, base_check(base.check))
    if run is None:
        return _box(choice, (), _message(f"{trouble} What it said stays here until you choose another one above."))
    recipe, step = run.recipe, run.detox_step or run.last_step
    known = recipe.method != "unknown"
    ratio = f"{recipe.support_ratio:g}" if isinstance(recipe, PairRecipe) else "unknown"
    chips = [
        ("trained by", "detox run") if recipe.method == "detox" else ("ratio", ratio),
        ("step", f"{step.step}" if step else ""),
        ("adapter", run.adapter_hash),
        ("base", _base_name(recipe.base.id)),
    ]
    note = _message(trouble) if trouble else ""
    if known and not trouble and recipe.system_prompt.strip() != system_prompt.strip():
        told = f"“{_short(recipe.system_prompt)}”" if recipe.system_prompt.strip() else "none"
        note = f'<div class="quiet">Trained with another system prompt: {escape(told)}.</div>'
    return _box(run.title, chips, note)


def base_check(check: BaseCheck | None) -> str:
    """The verdict on the base pane, its reason a click away."""
    if check is None:
        return '<div class="check quiet">○ Checked against the untouched base with its first answer.</div>'
    when = time.strftime("%H:%M:%S", time.localtime(check.at))
    moved = "; ".join(f"{name} moves a logit by up to {by:.3g}" for name, by in check.moved)
    most = (
        f"the largest difference of a logit is {check.difference:.2g}"
        if check.difference
        else "no logit differs at all"
    )
    reason = (
        f"At {when} a fixed question was put to this pane's model and compared with the base as it was loaded: {most} "
        f"(rounding may explain {check.tolerance:.2g})."
        + (f" For comparison, in the same batch {moved}." if moved else "")
    )
    mark, said, kind = ("✓", "Verified base", "ok") if check.ok else ("✗", "This is not the base", "bad")
    return (
        f'<details class="check {kind}"><summary title="{escape(reason)}">{mark} {said}</summary>'
        f"<div>{escape(reason)}</div></details>"
    )


def stats(update: PaneUpdate | None) -> str:
    """Tokens, speed and what else there is to say below a pane."""
    if update is None:
        return '<div class="pane-stats"></div>'
    parts = []
    if update.tokens:
        parts.append(counted(update.tokens, "token"))
        if update.tokens_per_second:
            parts.append(f"<b>{update.tokens_per_second:,.0f}</b> tokens/s")
    if update.done and not update.text.strip():
        parts.append("The answer is empty.")
    if update.note:
        parts.append(escape(update.note))
    if not parts:
        parts.append("Thinking…")
    return f'<div class="pane-stats">{" · ".join(parts)}</div>'


def _box(title: str, chips: Sequence[tuple[str, str]], below: str) -> str:
    shown = chips_html((name, value) for name, value in chips if value)
    return f'<div class="pane-id"><b>{escape(title)}</b>{shown}{below}</div>'


def _message(sentence: str) -> str:
    return f'<div class="run-message">{escape(sentence)}</div>'


def _base_name(model: str) -> str:
    """A folder by its last name, a hub id in full."""
    return Path(model).name if Path(model).is_absolute() else model


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79] + "…"
