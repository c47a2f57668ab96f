"""Prompts and answers that already hold a chat template: told by its special tokens, and taken apart again."""

from __future__ import annotations

import re
from typing import Any

#: Where a turn begins, by the model family whose template it is; the group, if any, is the speaker.
_STARTS = (
    r"<\|im_start\|>[ \t]*(?P<chatml>\w+)[ \t]*\n?",
    r"<\|start_header_id\|>\s*(?P<llama3>\w+)\s*<\|end_header_id\|>\s*",
    r"<start_of_turn>[ \t]*(?P<gemma>\w+)[ \t]*\n?",
    r"<\|(?P<zephyr>system|user|assistant)\|>[ \t]*\n?",
    r"<\|START_OF_TURN_TOKEN\|>\s*<\|(?P<cohere>SYSTEM|USER|CHATBOT)_TOKEN\|>",
    r"<\uff5c(?P<deepseek>User|Assistant)\uff5c>",
    r"(?P<inst>\[INST\])[ \t]*",
    r"(?P<answer>\[/INST\])[ \t]*",
    r"^### ?(?P<alpaca>System|Instruction|Input|Human|User|Response|Assistant)(?: prompt)?:[ \t]*\n?",
    r"(?:^|(?<=[\s>]))(?P<vicuna>USER(?=:[\s\S]*\bASSISTANT:)|(?<=\s)ASSISTANT(?=:)):[ \t]*",
)
_START = re.compile("|".join(_STARTS), re.MULTILINE)
_SYSTEM = re.compile(r"<<SYS>>\s*(.*?)\s*<</SYS>>", re.DOTALL)
_TOKEN = re.compile(
    r"<\|[A-Za-z0-9_]{1,40}\|>|<\uff5c[^\uff5c<>\n]{1,40}\uff5c>|</?s>|<(?:bos|eos|pad|unk)>|</?(?:start|end)_of_turn>|\[/?INST\]|"
    r"<</?SYS>>|\[(?:BOS|EOS|gMASK|AVAILABLE_TOOLS|/?SYSTEM_PROMPT)\]"
)
_ANY = re.compile(f"{_TOKEN.pattern}|{_STARTS[-2]}|{_STARTS[-1]}", re.MULTILINE)
#: One of these is in whatever :data:`_ANY` finds; most texts have none, and seeing that takes a tenth of the time.
_SIGNS = ("<", "[", "###", "USER", "ASSISTANT")
_USER = {"user", "human", "instruction", "input", "inst", "[inst]"}
_ASSISTANT = {"assistant", "model", "gpt", "response", "chatbot", "[/inst]"}


def template_token(text: str) -> str:
    """The first token of a chat template in ``text``; empty where there is none."""
    match = _ANY.search(text) if any(sign in text for sign in _SIGNS) else None
    return match[0].strip()[:40] if match else ""


def stripped(value: Any) -> Any:
    """A prompt or an answer without its chat template: turns where it holds turns of several speakers or of the user, else the
    text alone. A list of turns is stripped turn by turn; what is neither stays as it is."""
    if isinstance(value, list):
        return [_turn(item) for item in value]
    if not isinstance(value, str) or not template_token(value):
        return value
    turns = _turns(value)
    if len(turns) == 1 and turns[0]["role"] == "assistant":
        return turns[0]["content"]
    return turns if turns else _clean(value)


def _turn(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    return {name: _clean(held) if isinstance(held, str) else held for name, held in item.items()}


def _turns(text: str) -> list[dict[str, str]]:
    """The turns in ``text`` that are not empty; none where it names no speaker. What stands before the first of them is an
    answer where that is a new question, else it belongs to the system."""
    marks = list(_START.finditer(text))
    if not marks:
        return []
    turns: list[dict[str, str]] = []
    before = text[: marks[0].start()]
    system = _SYSTEM.search(text)
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    first = next((held for held in marks[0].groupdict().values() if held), "").lower()
    if _clean(before):
        answers = _TOKEN.search(before) is not None and first in _USER  # "Yes.</s>" and then a further question
        turns.append({"role": "assistant" if answers else "system", "content": _clean(before)})
        if answers:
            return turns
    if system and system[1].strip():
        turns.append({"role": "system", "content": system[1].strip()})
    for mark, end in zip(marks, ends, strict=True):
        speaker = next(held for held in mark.groupdict().values() if held).lower()
        role = "user" if speaker in _USER else "assistant" if speaker in _ASSISTANT else "system"
        content = _clean(_SYSTEM.sub("", text[mark.end() : end]))
        if not content:
            continue
        if turns and turns[-1]["role"] == role:  # an instruction and its input
            turns[-1]["content"] += f"\n\n{content}"
        else:
            turns.append({"role": role, "content": content})
    return turns


def _clean(text: str) -> str:
    return _TOKEN.sub("", _START.sub("", text)).strip()
