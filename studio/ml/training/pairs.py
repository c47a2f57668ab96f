"""Preference rows as token ids, split into prompt and answer the way TRL splits them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from studio.domain.data import Message, PreferencePair, PreferenceRow
from studio.errors import RecipeError
from studio.ml.models.frames import framed
from studio.ml.models.loading import render_chat


@dataclass(frozen=True)
class EncodedAnswer:
    """One answer behind its prompt, as token ids. ``len()`` counts both parts."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)

    @property
    def ids(self) -> tuple[int, ...]:
        """All token ids, prompt and answer."""
        return self.prompt_ids + self.answer_ids

    @property
    def key(self) -> str:
        """Names prompt and answer in the reference cache (sha256 of the token ids and where the answer starts)."""
        ids = array("q", (len(self.prompt_ids), *self.prompt_ids, *self.answer_ids))
        return hashlib.sha256(ids.tobytes()).hexdigest()


def conversation(prompt: str, system_prompt: str = "", history: Sequence[Message] = ()) -> list[Message]:
    """The turns before an answer. A system message in ``history`` belongs to the data and wins over ``system_prompt``."""
    system = (
        [Message("system", system_prompt)] if system_prompt and not any(m.role == "system" for m in history) else []
    )
    return [*system, *history, Message("user", prompt)]


def encode_pair(
    tokenizer: Any, messages: Sequence[Message], first: str, second: str, max_length: int, where: str
) -> tuple[EncodedAnswer, EncodedAnswer]:
    """Both answers to one prompt as token ids.

    As in TRL, an answer starts where the tokens of *prompt + answer* leave those of the prompt (the smaller such place
    of the two answers). An answer that goes beyond ``max_length`` tokens is cut at its end. A prompt that alone fills
    ``max_length`` is refused: TRL drops such a row in silence.

    Raises:
        RecipeError: the prompt leaves no room for an answer, or both answers are the same within ``max_length``.
    """
    prompt = _ids(tokenizer, render_chat(tokenizer, list(messages)))
    full = [_full_ids(tokenizer, messages, answer) for answer in (first, second)]
    start = min(_common_prefix(prompt, ids) for ids in full)
    if start >= max_length:
        raise RecipeError(
            f"{where} has a prompt of {start} tokens and max_length is {max_length}, which leaves no room for an answer; "
            "raise max_length or shorten the prompt."
        )
    answers = [EncodedAnswer(tuple(prompt[:start]), tuple(ids[start:max_length])) for ids in full]
    if answers[0] == answers[1]:
        raise RecipeError(
            f"{where} has two answers that are the same in their first {max_length} tokens; raise max_length (now "
            f"{max_length}) or change the row."
        )
    return answers[0], answers[1]


def encode_rows(
    tokenizer: Any, rows: Sequence[PreferenceRow], system_prompt: str, max_length: int
) -> list[tuple[EncodedAnswer, EncodedAnswer]]:
    """``(chosen, rejected)`` of every training row, in order; raises as :func:`encode_pair`, naming the row."""
    named = (
        (f"Training row {number} ({row.pair_id})", row, row.chosen, row.rejected) for number, row in enumerate(rows, 1)
    )
    return _encode_all(tokenizer, named, system_prompt, max_length)


def encode_heldout(
    tokenizer: Any, pairs: Sequence[PreferencePair], system_prompt: str, max_length: int
) -> list[tuple[EncodedAnswer, EncodedAnswer]]:
    """``(support, oppose)`` of every held-out pair, in order; raises as :func:`encode_pair`, naming the pair."""
    named = (
        (f"Held-out pair {number} ({pair.id})", pair, pair.support, pair.oppose) for number, pair in enumerate(pairs, 1)
    )
    return _encode_all(tokenizer, named, system_prompt, max_length)


def _encode_all(
    tokenizer: Any,
    named: Iterable[tuple[str, PreferencePair | PreferenceRow, str, str]],
    system_prompt: str,
    max_length: int,
) -> list[tuple[EncodedAnswer, EncodedAnswer]]:
    """Both answers of each ``(name in a complaint, where the prompt stands, first answer, second answer)``."""
    return [
        encode_pair(
            tokenizer, conversation(asked.prompt, system_prompt, asked.history), first, second, max_length, where
        )
        for where, asked, first, second in named
    ]


def _full_ids(tokenizer: Any, messages: Sequence[Message], answer: str) -> list[int]:
    text = render_chat(tokenizer, [*messages, Message("assistant", answer)], add_generation_prompt=False)
    ids = _ids(tokenizer, text)
    end = tokenizer.eos_token_id
    # The frame does not close the last answer, which would teach answers that never end.
    if end is not None and framed(tokenizer) and ids[-1:] != [end]:
        ids.append(end)
    return ids


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _common_prefix(first: list[int], second: list[int]) -> int:
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return min(len(first), len(second))
