"""Unpaired answers (KTO): each with a label that says whether it was liked. Where pairs are wanted, two of one prompt with both labels
make one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from studio.domain.data import Message, RatedAnswer
from studio.errors import DatasetError
from studio.services.data.conversations import messages_of, prompt_and_history
from studio.services.data.formats import RawRow, checked_text, kind_of, read_id
from studio.services.data.prompt_key import digest
from studio.services.data.shapes.fields import Fields, turns
from studio.services.data.shapes.templates import stripped

_LABELS = ("label", "kto_tag", "desirable")
_ANSWERS = ("completion", "response", "output", "answer")
_PROMPTS = ("prompt", "instruction", "question", "query", "input")
_CHATS = ("messages", "conversations")
_GOOD = {"true", "1", "1.0", "yes", "good", "desirable", "thumbs_up", "chosen", "like", "+1"}
_BAD = {"false", "0", "0.0", "-1", "no", "bad", "undesirable", "thumbs_down", "rejected", "dislike"}


def are_unpaired(rows: Sequence[RawRow]) -> bool:
    """Whether these rows are such answers: told by the first of them."""
    first = rows[0].value if rows else None
    if not isinstance(first, dict):
        return False
    fields = Fields(first, "", literal=False)
    label = fields.first(_LABELS)
    chat = fields.first(_CHATS)
    answered = bool(fields.first(_ANSWERS)) and bool(fields.first(_PROMPTS))
    return bool(label) and _liked(fields, label) is not None and (answered or bool(chat)) and "chosen" not in fields


def rated(rows: Iterable[RawRow], strip: bool, broken: Callable[[str], None]) -> Iterator[RatedAnswer]:
    """The answers; ``broken`` hears why single rows cannot be read. ``strip``: without chat templates that their texts hold."""
    known: set[int] = set()
    for number, row in enumerate(rows, 1):
        try:
            answer = _rated(row, number, strip)
        except DatasetError as error:
            broken(str(error))
            continue
        while digest(answer.id) in known:
            answer = replace(answer, id=f"{answer.id}-{number}")
        known.add(digest(answer.id))
        yield answer


def paired(rows: Sequence[RawRow], name: str) -> tuple[list[RawRow], list[str], str]:
    """Rows of pairs: the n-th liked answer to a prompt with the n-th one that is not. Also why single rows cannot be read, and a
    sentence on those left without a partner (empty where there is none).

    Raises:
        DatasetError: no prompt has answers of both labels.
    """
    groups: dict[str, tuple[list[Any], list[Any]]] = {}
    broken: list[str] = []
    counts = [0, 0]
    for row in rows:
        try:
            asked, answer, liked = _read(row)
        except DatasetError as error:
            broken.append(str(error))
            continue
        counts[not liked] += 1
        key = json.dumps(asked, sort_keys=True, default=str)
        groups.setdefault(key, ([], []))[not liked].append((row, asked, answer))
    made = []
    for good, bad in groups.values():
        for (one, asked, chosen), (two, _, rejected) in zip(good, bad, strict=False):
            given = Fields(one.value, one.where, literal=False)
            extra = {"system": given.get("system"), "history": given.get("history")}
            value = {**extra, "prompt": asked, "completion_chosen": chosen, "completion_rejected": rejected}
            made.append(RawRow(f"{one.where} and {two.where}", value))
    if not made and not broken:
        raise DatasetError(
            f"{name} holds unpaired answers as for KTO ({counts[0]} liked, {counts[1]} not), and no prompt has one of each; DPO "
            "and reward models need two answers to one prompt."
        )
    alone = sum(counts) - 2 * len(made)
    note = f"{alone} of {len(rows)} unpaired answers have no answer of the other label to the same prompt and were left out."
    return made, broken, note if alone else ""


def _rated(row: RawRow, number: int, strip: bool) -> RatedAnswer:
    where = row.where
    asked, answer, liked = _read(row)
    fields = Fields(row.value, where)
    history: tuple[Message, ...] = ()
    if earlier := fields.get("history"):
        history = turns(earlier, f"{where}: history")
    if strip:
        asked, answer = stripped(asked), stripped(answer)
    if isinstance(asked, list):
        before, prompt = prompt_and_history(messages_of(asked, f"{where}: prompt"), where)
        history = (*history, *before)
    else:
        prompt = checked_text(asked, f"{where}: prompt")
    if isinstance(answer, list):
        said = messages_of(answer, f"{where}: completion")[0]
        if said.role != "assistant":
            raise DatasetError(f"{where}: completion begins with a turn of the {said.role}, not of the assistant.")
        answer = said.content
    system = fields.get("system")
    if system is not None and not isinstance(system, str):
        raise DatasetError(f"{where}: system is {kind_of(system)}; it must be text.")
    if system and system.strip() and not (history and history[0].role == "system"):
        history = (Message("system", system.strip()), *history)
    name = read_id(fields.get("id"), f"{where}: id") or str(number)
    return RatedAnswer(name, prompt, checked_text(answer, f"{where}: completion"), liked, history)


def _read(row: RawRow) -> tuple[Any, Any, bool]:
    """(prompt, answer, whether it was liked)."""
    if not isinstance(row.value, dict):
        raise DatasetError(f"{row.where} is no object with named fields.")
    fields = Fields(row.value, row.where)
    label = fields.first(_LABELS)
    liked = _liked(fields, label) if label else None
    if liked is None:
        raise DatasetError(f"{row.where}: {fields.name(label or 'label')} says neither true nor false.")
    chat = fields.get(fields.first(_CHATS))
    if isinstance(chat, list) and len(chat) > 1 and not fields.first(_ANSWERS):
        return chat[:-1], chat[-1:], liked
    prompt, answer = fields.first(_PROMPTS), fields.first(_ANSWERS)
    if not prompt or not answer:
        raise DatasetError(f"{row.where}: {'completion' if prompt else 'prompt'} is missing.")
    return _asked(fields, prompt), fields.get(answer), liked


def _asked(fields: Fields, path: str) -> Any:
    """The prompt, an instruction with its input behind it."""
    asked, more = fields.get(path), fields.get("input") if path == "instruction" else None
    return f"{asked}\n\n{more}" if isinstance(asked, str) and isinstance(more, str) and more.strip() else asked


def _liked(fields: Fields, path: str) -> bool | None:
    text = str(fields.get(path)).strip().lower().replace(" ", "_")
    return True if text in _GOOD else False if text in _BAD else None
