"""What one pane shows around its conversation: who is answering, how fast, and whether the base is the base. Pure functions."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from studio.domain.chat import BaseCheck, Blend, PaneUpdate, is_base
from studio.domain.data import Message
from studio.domain.runs import PairRecipe
from studio.i18n import Named
from studio.services.lineage.vector import DEPTH, is_vector
from studio.services.runs.store import RunView
from studio.services.strength import blended_name
from studio.services.wording import counted, shortened
from studio.ui.compare.talk import Pane
from studio.ui.parts.html import Macros, parts

_HTML = Macros("compare/panes/view.html")
_KINDS = {"detox": "detox run", "kto": "KTO on thumbs"}
PLACEHOLDER = "Nothing asked yet."
#: The chat's copy buttons copy what is written (see :func:`literal`); with this script of the page, the answer's own text. Where a page has
#: no clipboard of its own (plain http beyond this machine), the button copies out of a text field that it makes below the body.
COPY_AS_WRITTEN = """() => {
  const original = (text) => text.replace(/&(lt|amp);/g, (_, name) => (name === "lt" ? "<" : "&"));
  let inChat = false;
  document.addEventListener("click", (event) => { inChat = Boolean(event.target.closest(".chat")); }, true);
  document.addEventListener("copy", (event) => {
    if (!inChat || event.target.tagName !== "TEXTAREA" || event.target.parentElement !== document.body) return;
    event.clipboardData.setData("text/plain", original(event.target.value));
    event.preventDefault();
  });
  if (!navigator.clipboard) return;
  const write = navigator.clipboard.writeText.bind(navigator.clipboard);
  navigator.clipboard.writeText = (text) => write(inChat ? original(text) : text);
}"""


@dataclass(frozen=True)
class BaseFacts:
    """The base model behind a pane: its id, the start of its fingerprint where known, the newest check, whether a server answers with it,
    where it cannot be checked, and what loading it takes while it is not in memory."""

    id: str
    fingerprint: str = ""
    check: BaseCheck | None = None
    served: bool = False
    room: str = ""


def literal(text: str) -> str:
    """``text`` such that the chat shows it to the letter: the Chatbot reads even plain text as HTML. Only what would be
    read as a tag, comment or character reference is written otherwise; :data:`COPY_AS_WRITTEN` reads it back."""
    if html.unescape(text) != text:
        text = text.replace("&", "&amp;")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def bubbles(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A conversation as the Chatbot takes it."""
    return [{"role": message.role, "content": literal(message.content)} for message in messages]


def identity(
    pane: Pane,
    run: RunView | None,
    base: BaseFacts,
    system_prompt: str,
    trouble: str = "",
    second: RunView | None = None,
    step_hash: str = "",
) -> Markup:
    """Who answers in a pane, and how strongly. ``run`` is None for the base, and for a run that is gone; ``second`` is the other run of
    the pane's blend, ``step_hash`` the hash of the snapshot of its step, ``trouble`` one sentence on why the pane cannot answer;
    ``system_prompt`` is what it is asked behind."""
    blend, own = pane.blend, ("own system prompt", f"“{_short(pane.system_prompt)}”" if pane.system_prompt else "")
    note = parts.message(trouble) if trouble else parts.quiet(base.room) if base.room else Markup()
    if is_base(pane.choice):
        chips = [("base", _base_name(base.id)), ("sha256", base.fingerprint[:12]), own]
        check = base_check(base.check, base.served) if not trouble else Markup()
        return _HTML.identity("Base model, no adapter", chips, check + note)
    if run is None:
        gone = f"{trouble} Its answers stay here until you choose another model above."
        return _HTML.identity(pane.choice, (), parts.message(gone))
    recipe, last = run.recipe, run.detox_step or run.last_step
    step = str(last.step) if last else ""
    adapter = run.adapter_hash
    if is_vector(pane.choice):
        what = "pair" if isinstance(recipe, PairRecipe) else "rated answer"
        pairs = f"{counted(recipe.data_size, what)}, without training"
        chips = [("made from", pairs), ("layer at", f"{DEPTH:.0%} of the depth"), ("sha256", step_hash)]
        chips += [("strength", f"{pane.strength:g}"), ("base", _base_name(recipe.base.id)), own]
        return _HTML.identity(f"Steering vector of {run.title}", chips, note)
    if pane.step is not None:
        step, adapter = f"{pane.step} of {last.total if last else '?'}", step_hash
    known = recipe.method != "unknown"
    ratio = f"{recipe.support_ratio:g}" if isinstance(recipe, PairRecipe) else "unknown"
    chips = [
        ("trained by", kind) if (kind := _KINDS.get(recipe.method)) else ("ratio", ratio),
        ("step", step),
        ("adapter", f"{adapter} + {second.adapter_hash}" if second else adapter),
        ("w", f"{blend.weight:g}" if blend else ""),
        ("strength", f"{pane.strength:g}"),
        ("base", _base_name(recipe.base.id)),
        ("went on from", recipe.start_run),
        own,
    ]
    trained_with = recipe.system_prompt.strip()
    if known and not trouble and trained_with != system_prompt.strip():
        prompt = f"“{_short(trained_with)}”" if trained_with else "none"
        note = parts.quiet(f"Trained with another system prompt: {prompt}.") + note
    named = blend and Blend(second.title if second else blend.run_id, blend.weight)
    return _HTML.identity(Named(blended_name(run.title, named)), chips, note, run.run_id)


def base_check(check: BaseCheck | None, served: bool = False) -> Markup:
    """The verdict on the base pane, its reason a click away."""
    if check is None:
        return _HTML.unchecked(served)
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
    return _HTML.base_check(check.ok, reason)


def stats(update: PaneUpdate | None) -> Markup:
    """Tokens, speed and what else there is to say below a pane."""
    return _HTML.stats(update)


def open_question() -> Markup:
    """What stands below a pane whose last question has no answer."""
    return _HTML.open_question()


def empty() -> Markup:
    """What stands above the panes before the first adapter."""
    return _HTML.empty()


def about_strength() -> Markup:
    """What a pane's strength is."""
    return _HTML.about_strength()


def _short(prompt: str) -> str:
    return shortened(" ".join(prompt.split()), 80)


def _base_name(model: str) -> str:
    """A folder by its last name, a hub id in full."""
    return Path(model).name if Path(model).is_absolute() else model
