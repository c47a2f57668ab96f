"""Preference rows in the shapes found in the wild, brought to one: earlier turns, a prompt, two answers.

TRL's preference types (https://huggingface.co/docs/trl/dataset_formats): plain or conversational, the prompt given or
implied by what *chosen* and *rejected* have in common; and Anthropic-HH transcripts, which are conversations in one string.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from studio.domain.data import Message, Role
from studio.errors import DatasetError
from studio.services.data.formats import TwiceNamed, checked_text, kind_of

_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_SPEAKERS: dict[Role, str] = {"user": "Human", "assistant": "Assistant", "system": "System"}
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
#: The cue a transcript given as a prompt ends with.
_OPEN_TURN = re.compile(r"\n\nAssistant:\s*$")


class SameAnswersError(DatasetError):
    """Both answers of a row are the same, so that it prefers nothing."""


@dataclass(frozen=True)
class Split:
    """A row taken apart. An answer of a transcript may be empty: the assistant said nothing there.

    Attributes:
        longer: turns after the two answers were left out.
        implied: the prompt is the common beginning of the two answers.
        continued: two transcripts do not part at an answer of each, so that an answer is all that follows their last common
            question, later turns with their speakers' names.
        tidied: empty turns were left out of a transcript, or turns in a row of one speaker joined.
    """

    history: tuple[Message, ...]
    prompt: str
    first: str
    second: str
    longer: bool = False
    implied: bool = False
    continued: bool = False
    tidied: bool = False


def split_row(
    prompt: Any, one: Any, two: Any, names: tuple[str, str], where: str, plain: bool = False, implied: bool = True
) -> Split:
    """Take a row apart into prompt and answers.

    Args:
        prompt: a text, turns, or None: it is what both answers begin with.
        one, two: the answers, texts or turns; ``names`` are their fields.
        plain: texts are what they are: one that begins with "Human:" is no transcript, and an empty one is an answer.
        implied: the beginning of two texts may be the prompt.

    Raises:
        DatasetError: a field is missing, empty or of a wrong type, or there is no prompt to be found; the message starts
            with ``where`` and names the field.
    """
    for name, value in zip(names, (one, two), strict=True):
        if value is None:
            raise DatasetError(f"{where}: {name} is missing.")
    if isinstance(prompt, str) and not plain and _TURN.match(prompt):
        prompt = [turn for turn in _turns_of(_OPEN_TURN.sub("", prompt), f"{where}: prompt") if turn["content"]]
    if not plain and isinstance(one, str) and isinstance(two, str) and _TURN.match(one) and _TURN.match(two):
        given = prompt if isinstance(prompt, list | None) else [{"role": "user", "content": prompt}]
        before = () if given is None else messages_of(given, f"{where}: prompt")
        turns = _transcript(one, f"{where}: {names[0]}"), _transcript(two, f"{where}: {names[1]}")
        return _transcripts(before, *turns, names, where)
    if isinstance(one, list) != isinstance(two, list):
        raise DatasetError(
            f"{where}: {names[0]} is {_shape(one)}, {names[1]} is {_shape(two)}; both must be of one kind."
        )
    if isinstance(one, list):
        return _conversational(prompt, one, two, names, where)
    if isinstance(prompt, list):
        answers = _answer(one, f"{where}: {names[0]}", plain), _answer(two, f"{where}: {names[1]}", plain)
        return Split(*prompt_and_history(messages_of(prompt, f"{where}: prompt"), where), *answers)
    if prompt is not None:
        question = checked_text(prompt, f"{where}: prompt")
        return Split(
            (), question, _answer(one, f"{where}: {names[0]}", plain), _answer(two, f"{where}: {names[1]}", plain)
        )
    if not implied:
        raise DatasetError(f"{where}: prompt is missing.")
    return _implied(one, two, names, where)


def is_turn(value: Any) -> bool:
    """Whether ``value`` is a turn of a conversation, in the words of OpenAI or ShareGPT."""
    return isinstance(value, dict) and ({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys())


def _shape(value: Any) -> str:
    return "text" if isinstance(value, str) else kind_of(value)


def _answer(value: Any, where: str, plain: bool) -> str:
    """What was kept may hold the empty answer of a transcript; in a row from elsewhere it is a gap."""
    return "" if plain and value == "" else checked_text(value, where)


def _conversational(prompt: Any, one: list[Any], two: list[Any], names: tuple[str, str], where: str) -> Split:
    turns = messages_of(one, f"{where}: {names[0]}"), messages_of(two, f"{where}: {names[1]}")
    same = _common(*turns)
    if any(len(messages) == same for messages in turns):
        if len(turns[0]) == len(turns[1]):
            raise _same(names, where)
        raise DatasetError(f"{where}: one of {names[0]} and {names[1]} is only the beginning of the other.")
    common, rest = turns[0][:same], (turns[0][same:], turns[1][same:])
    for name, messages in zip(names, rest, strict=True):
        if messages[0].role != "assistant":
            raise DatasetError(f"{where}: {name} differs in a turn of the {messages[0].role}, not of the assistant.")
    if isinstance(prompt, list):
        given = messages_of(prompt, f"{where}: prompt")
        # both may hold it: chosen and rejected as whole conversations beside a prompt
        before = common if common[: len(given)] == given else given + common
    elif prompt is not None and (not common or common[-1].role != "user"):
        before = (*common, Message("user", checked_text(prompt, f"{where}: prompt")))
    else:
        before = common
    return Split(
        *prompt_and_history(before, where),
        rest[0][0].content,
        rest[1][0].content,
        longer=max(map(len, rest)) > 1,
    )


def prompt_and_history(messages: tuple[Message, ...], where: str) -> tuple[tuple[Message, ...], str]:
    """The turns before the last one, and that one, which must be the user's.

    Raises:
        DatasetError: it is not, or there are none.
    """
    if not messages:
        raise DatasetError(f"{where}: prompt is missing, and the answers share no turn that could be it.")
    if messages[-1].role != "user":
        raise DatasetError(f"{where}: prompt ends with a turn of the {messages[-1].role}; it must end with the user's.")
    return messages[:-1], messages[-1].content


def messages_of(value: list[Any], where: str) -> tuple[Message, ...]:
    """A list of turns as messages, in the words of OpenAI (role, content) or ShareGPT (from, value).

    Raises:
        DatasetError: it is empty, or a turn is not one; the message starts with ``where`` and names the turn.
    """
    if not value:
        raise DatasetError(f"{where} is empty.")
    return tuple(_message(item, f"{where}, turn {number}") for number, item in enumerate(value, 1))


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise DatasetError(f"{where} is {_shape(item)}; it must be an object with role and content.")
    if isinstance(item, TwiceNamed):
        raise DatasetError(f"{where}: {item.twice} is given twice.")
    names = ("from", "value") if "from" in item and "role" not in item else ("role", "content")
    role = item.get(names[0])
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise DatasetError(f"{where}: {names[0]} is {str(role)[:40]!r}; it must be system, user or assistant.")
    content = item.get(names[1])
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "\n".join(str(part.get("text", "")) for part in content)
    return Message(_ROLES[role.lower()], checked_text(content, f"{where}: {names[1]}"))


def _transcripts(
    given: tuple[Message, ...],
    one: tuple[Message, ...],
    two: tuple[Message, ...],
    names: tuple[str, str],
    where: str,
) -> Split:
    """Two transcripts behind the turns ``given``. Real ones are untidy: about one in forty of the best-known set has an
    empty turn, two turns in a row of one speaker, or parts earlier than at the last answer. None of that loses a row."""
    same = _common(one, two)
    if same == len(one) == len(two):
        raise _same(names, where)
    raw = one[:same] if one[: min(same, len(given))] == given else given + one[:same]
    before, rest = _tidy(raw), (_tidy(one[same:]), _tidy(two[same:]))
    tidied = sum(map(len, (before, *rest))) < len(raw) + len(one) + len(two) - 2 * same
    if before and before[-1].role == "user" and all(part and part[0].role == "assistant" for part in rest):
        longer = max(map(len, rest)) > 1
        return Split(
            *prompt_and_history(before, where), rest[0][0].content, rest[1][0].content, longer=longer, tidied=tidied
        )
    last = max((at for at, turn in enumerate(before) if turn.role == "user"), default=-1)
    if last < 0:
        raise DatasetError(f"{where}: prompt is missing, and {names[0]} and {names[1]} share no question.")
    answers = tuple(_as_text(_tidy(before[last + 1 :] + part)) for part in rest)
    if answers[0] == answers[1]:
        raise _same(names, where)
    return Split(before[:last], before[last].content, answers[0], answers[1], continued=all(answers), tidied=tidied)


def _common(one: tuple[Message, ...], two: tuple[Message, ...]) -> int:
    """How many turns both begin with."""
    same = 0
    while same < min(len(one), len(two)) and one[same] == two[same]:
        same += 1
    return same


def _same(names: tuple[str, str], where: str) -> SameAnswersError:
    return SameAnswersError(f"{where}: {names[0]} and {names[1]} are the same.")


def _transcript(text: str, where: str) -> tuple[Message, ...]:
    """``\\n\\nHuman: ... \\n\\nAssistant: ...`` as messages, empty ones too."""
    return tuple(Message(_ROLES[turn["role"]], turn["content"]) for turn in _turns_of(text, where))


def _turns_of(text: str, where: str) -> list[dict[str, str]]:
    checked_text(text, where)
    marks = list(_TURN.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        {"role": "user" if mark[1] == "Human" else "assistant", "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]


def _tidy(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Without empty turns, and with turns in a row of one speaker joined: chat templates want them to alternate."""
    kept: list[Message] = []
    for turn in turns:
        if kept and turn.content and kept[-1].role == turn.role:
            kept[-1] = Message(turn.role, f"{kept[-1].content}\n\n{turn.content}")
        elif turn.content:
            kept.append(turn)
    return tuple(kept)


def _as_text(turns: tuple[Message, ...]) -> str:
    """Turns as one answer: the assistant's first words as they are, later turns with their speaker's name."""
    parts = [
        turn.content if not at and turn.role == "assistant" else f"{_SPEAKERS[turn.role]}: {turn.content}"
        for at, turn in enumerate(turns)
    ]
    return "\n\n".join(parts)


def _implied(one: Any, two: Any, names: tuple[str, str], where: str) -> Split:
    first, second = checked_text(one, f"{where}: {names[0]}"), checked_text(two, f"{where}: {names[1]}")
    if first == second:
        raise _same(names, where)
    cut = 0
    while cut < min(len(first), len(second)) and first[cut] == second[cut]:
        cut += 1
    # Two answers may begin with the same letters: "red" and "royal" part after the r, but not as words.
    while cut > 0 and _in_word(first, cut) | _in_word(second, cut):
        cut -= 1
    prompt, answers = first[:cut].strip(), (first[cut:].strip(), second[cut:].strip())
    if not prompt:
        raise DatasetError(f"{where}: prompt is missing, and {names[0]} and {names[1]} share no beginning.")
    for name, answer in zip(names, answers, strict=True):
        if not answer:
            raise DatasetError(f"{where}: {name} is nothing but the prompt it shares with the other answer.")
    return Split((), prompt, *answers, implied=True)


def _in_word(text: str, cut: int) -> bool:
    """Would cutting here part a word of a script that writes spaces between words (below U+2E80)?"""
    if not 0 < cut < len(text):
        return False
    return all(char.isalnum() and ord(char) < 0x2E80 for char in (text[cut - 1], text[cut]))
