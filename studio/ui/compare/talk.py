"""The conversations of Compare: up to four panes, each with its own model and conversation.

A :class:`Talk` lives in the visitor's own browser (``gr.BrowserState``) and nowhere else: a refresh finds it again, a
restart of the server does not lose it, no other visitor can reach it. What comes back from a browser is text from outside,
so :func:`restore` checks all of it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from studio.domain.chat import BASE, Blend, Sampling, base_pane
from studio.domain.data import Message
from studio.errors import InputError, StudioError
from studio.services.compare.panes import PaneChat, behind, check_sampling
from studio.services.lineage.steps import at_step
from studio.services.strength import check_blend, check_strength

MAX_PANES = 4
#: What of a conversation is kept; a browser's storage is small and a model forgets earlier anyway.
MAX_TURNS, MAX_CHARACTERS = 100, 100_000
MAX_QUESTION = 8_000
#: The fields of Sampling that a visitor sets, in the order of their widgets.
SAMPLING = ("temperature", "top_p", "max_new_tokens", "seed")
_VERSION = 1


@dataclass(frozen=True)
class Pane:
    """One pane: ``choice`` is the name of a base pane or a run id; ``messages`` alternate user and assistant. A question at the
    end has no answer yet. ``strength`` is how strongly the adapter answers, alone or in a ``blend`` with another (see
    :mod:`studio.services.strength`). ``system_prompt`` is the pane's own; empty: that of all panes. ``step``: the adapter as it was at a
    step of its training, None at its end."""

    choice: str
    messages: tuple[Message, ...] = ()
    strength: float = 1.0
    blend: Blend | None = None
    system_prompt: str = ""
    step: int | None = None

    @property
    def voice(self) -> str:
        """Who answers: the base, a run, or RUN@STEP."""
        return at_step(self.choice, self.step)

    @property
    def adapters(self) -> tuple[str, ...]:
        """A base, or the runs whose adapters answer."""
        return (self.choice,) if self.blend is None else (self.choice, self.blend.run_id)

    @property
    def answer(self) -> str:
        """The newest answer; empty before there is one."""
        return self.messages[-1].content if self.messages and self.messages[-1].role == "assistant" else ""


@dataclass(frozen=True)
class Asked:
    """How the newest answers were made, whatever is set now; ``base`` is the base model of the plain base pane, ``own`` the panes' own
    system prompts."""

    system_prompt: str
    sampling: Sampling
    base: str
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class Talk:
    """The panes in order and how they are asked. ``asked`` is None while the newest answers are not finished."""

    panes: tuple[Pane, ...]
    system_prompt: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    diff: bool = False
    asked: Asked | None = None


def ask(talk: Talk, question: str) -> Talk:
    """``question`` put to every pane; one that was never answered is replaced.

    Raises:
        InputError: it is empty or too long.
    """
    if len(question) > MAX_QUESTION:
        raise InputError(f"The question has {len(question):,} characters; {MAX_QUESTION:,} are allowed.")
    question = question.strip()
    if not question:
        raise InputError("There is no question to answer; write something first.")
    message = Message("user", question)
    panes = tuple(replace(p, messages=(*_answered_turns(p.messages), message)) for p in talk.panes)
    return replace(talk, panes=panes, asked=None)


def ask_again(talk: Talk) -> Talk:
    """Without the last answers, so that their question is answered anew. A pane that was not asked yet gets the last
    question of the first pane that was.

    Raises:
        InputError: nothing was asked yet.
    """
    last = next((m for p in talk.panes for m in reversed(p.messages) if m.role == "user"), None)
    if last is None:
        raise InputError("There is nothing to ask again; write something first.")
    panes = []
    for pane in talk.panes:
        kept = pane.messages[:-1] if pane.answer else pane.messages
        panes.append(replace(pane, messages=kept or (last,)))
    return replace(talk, panes=tuple(panes), asked=None)


def asking(
    diff: bool, system: str, temperature: float, top_p: float, tokens: float, seed: float | None
) -> dict[str, Any]:
    """The fields of a :class:`Talk` that the page's settings are.

    Raises:
        InputError: the system prompt is too long.
    """
    if len(system or "") > MAX_QUESTION:
        raise InputError(f"The system prompt has {len(system):,} characters; {MAX_QUESTION:,} are allowed.")
    sampling = Sampling(float(temperature), float(top_p), int(tokens), int(seed or 0))
    return {"system_prompt": (system or "").strip(), "sampling": sampling, "diff": bool(diff)}


def with_own(talk: Talk, prompts: Sequence[str | None]) -> Talk:
    """``talk`` with its panes' own system prompts, in their order; more of them than panes are left alone.

    Raises:
        InputError: one is too long.
    """
    own = [(prompt or "").strip() for prompt in prompts[: len(talk.panes)]]
    for number, prompt in enumerate(own, 1):
        if len(prompt) > MAX_QUESTION:
            raise InputError(
                f"The system prompt of pane {number} has {len(prompt):,} characters; {MAX_QUESTION:,} are allowed."
            )
    panes = [replace(pane, system_prompt=prompt) for pane, prompt in zip(talk.panes, own, strict=False)]
    return replace(talk, panes=(*panes, *talk.panes[len(panes) :]))


def as_asked(talk: Talk) -> Talk:
    """``talk`` with the system prompts and sampling of its newest answers, whatever is set now."""
    how = talk.asked
    if how is None:
        return talk
    own = (*how.own, *[""] * len(talk.panes))
    panes = tuple(
        replace(pane, system_prompt=said) if pane.answer else pane for pane, said in zip(talk.panes, own, strict=False)
    )
    return replace(talk, panes=panes, system_prompt=how.system_prompt, sampling=how.sampling)


def dial(talk: Talk, index: int, **changes: Any) -> Talk:
    """Pane ``index`` with another ``strength``, ``blend``, ``step`` or ``system_prompt`` of its own, its last answer taken back, so that the same
    question is answered anew the way it was asked: else the same system prompt, sampling and seed.

    Raises:
        InputError: the blend is none.
    """
    talk = as_asked(talk)
    pane = talk.panes[index]
    kept = pane.messages[:-1] if pane.answer else pane.messages
    turned = replace(pane, **changes, messages=kept)
    check_blend(turned.choice, turned.blend)
    return replace(talk, panes=(*talk.panes[:index], turned, *talk.panes[index + 1 :]), asked=None)


def answered(talk: Talk, answers: Mapping[int, str]) -> Talk:
    """``answers`` (by pane index) set below the questions they belong to; an empty one leaves its question open."""
    panes = list(talk.panes)
    for index, text in answers.items():
        if text:
            panes[index] = replace(panes[index], messages=(*panes[index].messages, Message("assistant", text)))
    return replace(talk, panes=tuple(panes))


def system_prompt_of(talk: Talk, index: int) -> str:
    """The system prompt that pane ``index`` is asked behind: its own, or that of all panes."""
    return talk.panes[index].system_prompt or talk.system_prompt


def conversation(talk: Talk, index: int) -> tuple[Message, ...]:
    """Pane ``index``'s conversation as its newest answer was given: behind the system prompt of then, whatever is set now."""
    return behind(system_prompt_of(as_asked(talk), index), talk.panes[index].messages)


def question_turns(talk: Talk, index: int) -> tuple[Message, ...]:
    """Pane ``index``'s conversation up to its last question, behind the system prompt of then."""
    turns = conversation(talk, index)
    return turns[:-1] if talk.panes[index].answer else turns


def last_question(talk: Talk, choice: str) -> tuple[int, tuple[Message, ...]]:
    """The last question with the turns before it, and the pane it was put to: the first one of those that show ``choice``
    (or, where none of them was asked anything, of all) that was asked.

    Raises:
        InputError: nothing was asked yet.
    """
    used = [index for index, pane in enumerate(talk.panes) if pane.messages]
    if not used:
        raise InputError("There is no question yet; ask the panes something first.")
    index = next((index for index in used if talk.panes[index].choice == choice), used[0])
    pane = talk.panes[index]
    return index, pane.messages[:-1] if pane.answer else pane.messages


def chat(talk: Talk, index: int, messages: tuple[Message, ...], shared: str) -> PaneChat:
    """Pane ``index`` with ``messages``, as the service takes it; ``shared`` is the base that the plain base pane shows."""
    pane = talk.panes[index]
    voice = base_pane(shared) if pane.choice == BASE else pane.voice
    return PaneChat(voice, messages, strength=pane.strength, blend=pane.blend)


def choose(talk: Talk, index: int, choice: str, step: int | None = None) -> Talk:
    """Another model in a pane, at a ``step`` or its end. Its conversation starts anew: the answers so far were not that model's."""
    panes = list(talk.panes)
    if panes[index].choice != choice:
        panes[index] = Pane(choice, system_prompt=panes[index].system_prompt, step=step)
    return replace(talk, panes=tuple(panes))


def resize(talk: Talk, count: int, offered: Sequence[str]) -> Talk:
    """``count`` panes; a new one shows the first of ``offered`` that no pane shows yet."""
    panes = list(talk.panes[:count])
    while len(panes) < count:
        used = {pane.choice for pane in panes}
        panes.append(Pane(next((choice for choice in offered if choice not in used), offered[0])))
    return replace(talk, panes=tuple(panes))


def cleared(talk: Talk) -> Talk:
    """The same panes without their conversations."""
    return replace(talk, panes=tuple(replace(pane, messages=()) for pane in talk.panes))


def new_seed() -> int:
    """A seed short enough to be noted down."""
    return random.randrange(1, 1_000_000)


def store(talk: Talk) -> dict[str, Any]:
    """A talk as the browser keeps it."""
    return {
        "version": _VERSION,
        "panes": [
            {
                "choice": pane.choice,
                "messages": [[m.role, m.content] for m in _bounded(pane.messages)],
                "strength": pane.strength,
                "blend": pane.blend and [pane.blend.run_id, pane.blend.weight],
                "system": pane.system_prompt,
                "step": pane.step,
            }
            for pane in talk.panes
        ],
        "system": talk.system_prompt,
        "sampling": sampling_numbers(talk.sampling),
        "diff": talk.diff,
        "asked": talk.asked
        and [talk.asked.system_prompt, sampling_numbers(talk.asked.sampling), talk.asked.base, *talk.asked.own],
    }


def restore(value: object) -> Talk | None:
    """What :func:`store` wrote, checked; None where there is nothing or it is not that."""
    if not isinstance(value, dict) or value.get("version") != _VERSION:
        return None
    try:
        if not isinstance(value["panes"], list) or not 1 <= len(value["panes"]) <= MAX_PANES:
            return None
        panes = tuple(_pane(entry) for entry in value["panes"])
        sampling, asked = sampling_from(value["sampling"]), _asked(value.get("asked"))
        system, diff = _prompt(value["system"]), value["diff"]
    except (KeyError, TypeError, ValueError, OverflowError, StudioError):
        return None
    return Talk(panes, system, sampling, diff is True, asked)


def sampling_numbers(sampling: Sampling) -> list[float]:
    """Its fields in the order of :data:`SAMPLING`."""
    return [getattr(sampling, name) for name in SAMPLING]


def sampling_from(value: Any) -> Sampling:
    """What :func:`sampling_numbers` gave, checked.

    Raises:
        TypeError, ValueError, OverflowError: these are not such numbers.
        InputError: one is out of range.
    """
    temperature, top_p, max_new_tokens, seed = value
    sampling = Sampling(float(temperature), float(top_p), int(max_new_tokens), int(seed))
    check_sampling(sampling)
    return sampling


def _asked(value: Any) -> Asked | None:
    if value is None:
        return None
    system, numbers, base, *own = value
    if not isinstance(base, str) or len(base) > 1_000 or len(own) > MAX_PANES:
        raise ValueError("not how something was asked")
    return Asked(_prompt(system), sampling_from(numbers), base, tuple(_prompt(text) for text in own))


def _prompt(value: Any) -> str:
    """A system prompt that a browser kept."""
    if not isinstance(value, str) or len(value) > MAX_QUESTION:
        raise ValueError("not a system prompt")
    return value


def _pane(entry: Mapping[str, Any]) -> Pane:
    choice = entry["choice"]
    messages: list[Message] = []
    if not isinstance(entry["messages"], list) or len(entry["messages"]) > MAX_TURNS:
        raise ValueError("too many turns")
    for role, content in entry["messages"]:
        expected = "assistant" if len(messages) % 2 else "user"
        if role != expected or not isinstance(content, str) or not content:
            raise ValueError("roles do not alternate")
        messages.append(Message(role, content))
    if not isinstance(choice, str) or len(choice) > 1_000:  # a base may be a folder
        raise ValueError("not a pane")
    if sum(len(message.content) for message in messages) > 2 * MAX_CHARACTERS:
        raise ValueError("too long")
    strength, blend = check_strength(entry.get("strength", 1.0)), _blend(choice, entry.get("blend"))
    step = entry.get("step")
    if step is not None and (type(step) is not int or not 0 < step < 10**9):
        raise ValueError("not a step")
    return Pane(choice, tuple(messages), strength, blend, _prompt(entry.get("system", "")), step)


def _blend(choice: str, value: Any) -> Blend | None:
    if value is None:
        return None
    run_id, weight = value
    if not isinstance(run_id, str) or len(run_id) > 100:
        raise ValueError("not a blend")
    blend = Blend(run_id, weight)
    check_blend(choice, blend)
    return blend


def _answered_turns(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return messages[:-1] if messages and messages[-1].role == "user" else messages


def _bounded(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The newest turns that fit, starting with a question."""
    kept = list(messages[-(MAX_TURNS - MAX_TURNS % 2) :])
    while len(kept) > 2 and (kept[0].role != "user" or sum(len(m.content) for m in kept) > MAX_CHARACTERS):
        kept.pop(0)
    return tuple(kept if kept and kept[0].role == "user" else ())
