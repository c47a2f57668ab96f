"""Preference rows in the shapes found in the wild, brought to one: earlier turns, a prompt, two answers.

TRL's preference types (https://huggingface.co/docs/trl/dataset_formats): plain or conversational, the prompt given or
implied by what *chosen* and *rejected* have in common; and Anthropic-HH transcripts, which are conversations in one string.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from studio.domain import Message, Role
from studio.errors import DatasetError
from studio.services.formats import TwiceNamed, checked_text, kind_of

_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
#: The cue a transcript given as a prompt ends with.
_OPEN_TURN = re.compile(r"\n\nAssistant:\s*$")


@dataclass(frozen=True)
class Split:
    """A row taken apart. ``longer`` tells that turns after the two answers were left out, ``implied`` that the prompt
    is the common beginning of the two answers."""

    history: tuple[Message, ...]
    prompt: str
    first: str
    second: str
    longer: bool = False
    implied: bool = False


def split_row(row: dict[str, Any], first: str, second: str, where: str, plain: bool = False) -> Split:
    """Take a row apart into prompt and the answers in its fields ``first`` and ``second``. ``plain`` texts are what they
    are: one that begins with "Human:" is no transcript.

    Raises:
        DatasetError: a field is missing, empty or of a wrong type, or there is no prompt to be found; the message starts
            with ``where`` and names the field.
    """
    for field in (first, second):
        if row.get(field) is None:
            raise DatasetError(f"{where}: {field} is missing.")
    prompt, one, two = row.get("prompt"), row[first], row[second]
    if isinstance(prompt, str) and not plain and _TURN.match(prompt):
        prompt = _transcript(_OPEN_TURN.sub("", prompt), f"{where}: prompt")
    if not plain and isinstance(one, str) and isinstance(two, str) and _TURN.match(one) and _TURN.match(two):
        one, two = _transcript(one, f"{where}: {first}"), _transcript(two, f"{where}: {second}")
    if isinstance(one, list) != isinstance(two, list):
        raise DatasetError(f"{where}: {first} is {_shape(one)}, {second} is {_shape(two)}; both must be of one kind.")
    if isinstance(one, list):
        return _conversational(prompt, one, two, (first, second), where)
    if isinstance(prompt, list):
        answers = checked_text(one, f"{where}: {first}"), checked_text(two, f"{where}: {second}")
        return Split(*_asked(_messages(prompt, f"{where}: prompt"), where), *answers)
    if prompt is not None:
        asked = checked_text(prompt, f"{where}: prompt")
        return Split((), asked, checked_text(one, f"{where}: {first}"), checked_text(two, f"{where}: {second}"))
    return _implied(one, two, (first, second), where)


def _shape(value: Any) -> str:
    return "text" if isinstance(value, str) else kind_of(value)


def _conversational(prompt: Any, one: list[Any], two: list[Any], names: tuple[str, str], where: str) -> Split:
    turns = _messages(one, f"{where}: {names[0]}"), _messages(two, f"{where}: {names[1]}")
    same = 0
    while same < min(map(len, turns)) and turns[0][same] == turns[1][same]:
        same += 1
    if any(len(messages) == same for messages in turns):
        if len(turns[0]) == len(turns[1]):
            raise DatasetError(f"{where}: {names[0]} and {names[1]} are the same.")
        raise DatasetError(f"{where}: one of {names[0]} and {names[1]} is only the beginning of the other.")
    common, rest = turns[0][:same], (turns[0][same:], turns[1][same:])
    for name, messages in zip(names, rest, strict=True):
        if messages[0].role != "assistant":
            raise DatasetError(f"{where}: {name} differs in a turn of the {messages[0].role}, not of the assistant.")
    if isinstance(prompt, list):
        given = _messages(prompt, f"{where}: prompt")
        # both may hold it: chosen and rejected as whole conversations beside a prompt
        asked = common if common[: len(given)] == given else given + common
    elif prompt is not None and (not common or common[-1].role != "user"):
        asked = (*common, Message("user", checked_text(prompt, f"{where}: prompt")))
    else:
        asked = common
    return Split(
        *_asked(asked, where),
        rest[0][0].content,
        rest[1][0].content,
        longer=max(map(len, rest)) > 1,
    )


def _asked(messages: tuple[Message, ...], where: str) -> tuple[tuple[Message, ...], str]:
    if not messages:
        raise DatasetError(f"{where}: prompt is missing, and the answers share no turn that could be it.")
    if messages[-1].role != "user":
        raise DatasetError(f"{where}: prompt ends with a turn of the {messages[-1].role}; it must end with the user's.")
    return messages[:-1], messages[-1].content


def _messages(value: list[Any], where: str) -> tuple[Message, ...]:
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


def _transcript(text: str, where: str) -> list[dict[str, str]]:
    """``\\n\\nHuman: ... \\n\\nAssistant: ...`` as a list of messages."""
    marks = list(_TURN.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    turns = [
        {"role": "user" if mark[1] == "Human" else "assistant", "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]
    for number, turn in enumerate(turns, 1):
        if not turn["content"]:
            raise DatasetError(f"{where}, turn {number} ({turn['role']}) is empty.")
    return turns


def _implied(one: Any, two: Any, names: tuple[str, str], where: str) -> Split:
    first, second = checked_text(one, f"{where}: {names[0]}"), checked_text(two, f"{where}: {names[1]}")
    if first == second:
        raise DatasetError(f"{where}: {names[0]} and {names[1]} are the same.")
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
