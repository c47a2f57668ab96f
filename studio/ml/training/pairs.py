"""Preference rows as token ids, split into prompt and answer the way TRL splits them."""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from studio.domain.data import Message, PreferencePair, PreferenceRow, RatedAnswer
from studio.errors import RecipeError
from studio.ml.models.frames import framed
from studio.ml.models.loading import render_chat

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class AnswerBatch:
    """Answers as tensors: ``input_ids`` [rows, length] padded on the right, ``completion_mask`` [rows, length] true on
    answer tokens, ``tokens`` the number of real tokens."""

    input_ids: torch.Tensor
    completion_mask: torch.Tensor
    tokens: int


def pad_answers(answers: Sequence[EncodedAnswer], pad_id: int, device: Any = "cpu") -> AnswerBatch:
    """Stack answers into one right-padded batch."""
    import torch

    length = max(len(answer) for answer in answers)
    ids = torch.full((len(answers), length), pad_id, dtype=torch.long)
    mask = torch.zeros((len(answers), length), dtype=torch.bool)
    for row, answer in enumerate(answers):
        ids[row, : len(answer)] = torch.tensor(answer.prompt_ids + answer.answer_ids)
        mask[row, len(answer.prompt_ids) : len(answer)] = True
    return AnswerBatch(ids.to(device), mask.to(device), sum(len(answer) for answer in answers))


def token_mask(answers: Sequence[EncodedAnswer], length: int) -> torch.Tensor:
    """1 on the tokens of each answer and its prompt, 0 on the padding behind: [rows, ``length``]."""
    import torch

    lengths = torch.tensor([len(answer) for answer in answers])
    return (torch.arange(length) < lengths[:, None]).long()


def conversation(prompt: str, system_prompt: str = "", history: Sequence[Message] = ()) -> list[Message]:
    """The turns before an answer. A system message in ``history`` belongs to the data and wins over ``system_prompt``."""
    system = (
        [Message("system", system_prompt)] if system_prompt and not any(m.role == "system" for m in history) else []
    )
    return [*system, *history, Message("user", prompt)]


def encode_answer(tokenizer: Any, messages: Sequence[Message], answer: str) -> EncodedAnswer:
    """One answer behind ``messages`` as training reads it, its end included; see :func:`fit_answers`."""
    prompt, full = _ids(tokenizer, render_chat(tokenizer, list(messages))), _full_ids(tokenizer, messages, answer)
    start = _common_prefix(prompt, full)
    return EncodedAnswer(tuple(full[:start]), tuple(full[start:]))


class Fit(NamedTuple):
    """What became of a row: its answers as token ids (none where it is left out, ``why`` says it), and how many were cut at their
    end."""

    answers: tuple[EncodedAnswer, ...]
    why: str = ""
    cut: int = 0


def texts_of(row: PreferenceRow | RatedAnswer) -> tuple[str, ...]:
    """The answers of a training row: the chosen and the rejected one, or the one with a thumb."""
    return (row.completion,) if isinstance(row, RatedAnswer) else (row.chosen, row.rejected)


def fit_answers(
    tokenizer: Any, messages: Sequence[Message], texts: Sequence[str], max_length: int, cut: bool = True
) -> Fit:
    """One or two answers to one prompt as token ids.

    As in TRL, an answer starts where the tokens of *prompt + answer* leave those of the prompt (the smaller such place
    of two answers). An answer that goes beyond ``max_length`` tokens is ``cut`` at its end, or its row left out. A row is left
    out as well where its prompt alone fills ``max_length`` (TRL drops it in silence), or where both answers are the same within
    it.
    """
    prompt = _ids(tokenizer, render_chat(tokenizer, list(messages)))
    full = [_full_ids(tokenizer, messages, answer) for answer in texts]
    start = min(_common_prefix(prompt, ids) for ids in full)
    if start >= max_length:
        return Fit((), f"its prompt of {start:,} tokens leaves no room for an answer within max_length {max_length:,}")
    longest = max(map(len, full))
    if not cut and longest > max_length:
        return Fit((), f"prompt and answer have {longest:,} tokens, and max_length is {max_length:,}")
    answers = tuple(EncodedAnswer(tuple(prompt[:start]), tuple(ids[start:max_length])) for ids in full)
    if len(set(answers)) < len(answers):
        return Fit((), f"its answers are the same within {max_length:,} tokens")
    return Fit(answers, cut=sum(len(ids) > max_length for ids in full))


def encode_rows(
    tokenizer: Any,
    rows: Sequence[PreferenceRow],
    system_prompt: str,
    max_length: int,
    cut: bool = True,
) -> list[tuple[EncodedAnswer, EncodedAnswer]]:
    """``(chosen, rejected)`` of every training row that fits, in order; the others are named in the log.

    Raises:
        RecipeError: none of them fits.
    """
    named = [(f"Training row {number} ({row.pair_id})", row, texts_of(row)) for number, row in enumerate(rows, 1)]
    fits = _encode_training(tokenizer, named, system_prompt, max_length, cut)
    return [(chosen, rejected) for chosen, rejected in fits]


def encode_rated(
    tokenizer: Any,
    rows: Sequence[RatedAnswer],
    system_prompt: str,
    max_length: int,
    cut: bool = True,
) -> list[tuple[EncodedAnswer]]:
    """The answer of every training row that fits, in order; the others are named in the log.

    Raises:
        RecipeError: none of them fits.
    """
    named = [(f"Training row {number} ({row.id})", row, texts_of(row)) for number, row in enumerate(rows, 1)]
    return [(answer,) for (answer,) in _encode_training(tokenizer, named, system_prompt, max_length, cut)]


def encode_heldout(
    tokenizer: Any,
    pairs: Sequence[PreferencePair],
    system_prompt: str,
    max_length: int,
    cut: bool = True,
) -> list[tuple[EncodedAnswer, EncodedAnswer]]:
    """``(support, oppose)`` of every held-out pair that fits, in order; the others are named in the log."""
    named = (
        (f"Held-out pair {number} ({pair.id})", pair, (pair.support, pair.oppose))
        for number, pair in enumerate(pairs, 1)
    )
    fits, _ = _encode_all(tokenizer, named, system_prompt, max_length, cut)
    return [(support, oppose) for support, oppose in fits]


#: A row's name in the log, where its prompt stands, and its answers.
_Named = tuple[str, PreferencePair | PreferenceRow | RatedAnswer, Sequence[str]]


def _encode_training(
    tokenizer: Any, named: Sequence[_Named], system_prompt: str, max_length: int, cut: bool
) -> list[tuple[EncodedAnswer, ...]]:
    fits, left_out = _encode_all(tokenizer, named, system_prompt, max_length, cut)
    if named and not fits:
        raise RecipeError(f"None of the {len(named)} training rows can be used: {left_out[0]}; raise max_length.")
    return fits


def _encode_all(
    tokenizer: Any, named: Iterable[_Named], system_prompt: str, max_length: int, cut: bool
) -> tuple[list[tuple[EncodedAnswer, ...]], list[str]]:
    """The answers of each row that fits, and why the others do not."""
    fits, left_out = [], []
    for where, asked, texts in named:
        before = conversation(asked.prompt, system_prompt, asked.history)
        fit = fit_answers(tokenizer, before, texts, max_length, cut)
        if fit.answers:
            fits.append(fit.answers)
        else:
            left_out.append(f"{where}: {fit.why}")
            _log.warning("Left out: %s.", left_out[-1])
    return fits, left_out


def _full_ids(tokenizer: Any, messages: Sequence[Message], answer: str) -> list[int]:
    text = render_chat(tokenizer, [*messages, Message("assistant", answer)], add_generation_prompt=False)
    ids = _ids(tokenizer, text)
    end = tokenizer.eos_token_id
    # The frame does not close the last answer, which would teach answers that never end.
    if end is not None and framed(tokenizer) and ids[-1:] != [end]:
        ids.append(end)
    return ids


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def _common_prefix(first: list[int], second: list[int]) -> int:
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return min(len(first), len(second))
