"""What makes two pairs the same pair, and what text may enter the store at all. Pure functions.

Texts are compared as a reader would: composed (NFC), any run of white space one space. They are stored as they came.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Literal, get_args

from studio.domain.data import Message
from studio.domain.votes import AnswerPair, NewPair, Origin, PairSource
from studio.errors import InputError
from studio.services.texts import check_text, normalised


def pair_identity(
    prompt: str,
    answer_a: str,
    answer_b: str,
    history: Sequence[Message] = (),
    system_prompt: str = "",
    room: str = "",
) -> str:
    """The id of a pair, 24 hex digits, another one in every room; the order of the answers makes no difference."""
    turns = [[message.role, normalised(message.content)] for message in history]
    answers = sorted((normalised(answer_a), normalised(answer_b)))
    parts = [normalised(system_prompt), turns, normalised(prompt), answers, *([room] if room else [])]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def in_order(answer_a: str, answer_b: str) -> bool:
    """Whether ``answer_a`` is answer 1 of the stored pair: the canonical order is that of the normalised texts."""
    return normalised(answer_a) <= normalised(answer_b)


def same_answer(answer_a: str, answer_b: str) -> bool:
    """Whether two answers are one to a reader; they never become a pair."""
    return normalised(answer_a) == normalised(answer_b)


def check_pair(pair: NewPair, where: str = "") -> None:
    """Check every text of a pair; ``where`` goes before the name of a field ("row 3: ").

    Raises:
        InputError: a text cannot be stored and shown.
    """
    check_text(f"{where}prompt", pair.prompt)
    check_text(f"{where}answer_a", pair.answer_a)
    check_text(f"{where}answer_b", pair.answer_b)
    check_text(f"{where}system_prompt", pair.system_prompt, empty=True)
    for number, message in enumerate(pair.history, 1):
        check_text(f"{where}history, turn {number}", message.content, empty=True)
        if message.role not in ("system", "user", "assistant"):
            raise InputError(
                f"{where}history, turn {number} has the role {message.role!r}; use system, user or assistant."
            )
    for field, value, known in (
        ("source", pair.source, get_args(PairSource)),
        ("preferred", pair.preferred, ("a", "b", "")),
    ):
        if value not in known:
            raise InputError(f"{where}{field} is {str(value)[:40]!r}; it must be one of {', '.join(map(repr, known))}.")
    for name, origin in (("origin_a", pair.origin_a), ("origin_b", pair.origin_b)):
        for part in ("label", "model", "fingerprint", "run_id", "adapter_hash"):
            check_text(f"{where}{name}.{part}", getattr(origin, part), limit=1000, empty=part != "label")


def stored_pair(pair: NewPair, room: str, now: float) -> AnswerPair:
    """A pair as a room keeps it: answers in canonical order. ``now`` in Unix seconds."""
    return canonical_pair(given_pair(pair, "", now), room)


def given_pair(pair: NewPair, pair_id: str, created: float) -> AnswerPair:
    """A new pair with *a* as answer 1 and *b* as answer 2, whatever their canonical order."""
    labels: dict[str, Literal["1", "2", ""]] = {"a": "1", "b": "2", "": ""}
    return AnswerPair(
        id=pair_id,
        prompt=pair.prompt,
        answer_1=pair.answer_a,
        answer_2=pair.answer_b,
        origin_1=_finite(pair.origin_a),
        origin_2=_finite(pair.origin_b),
        source=pair.source,
        created=created,
        history=pair.history,
        system_prompt=pair.system_prompt,
        preferred=labels[pair.preferred],
    )


def canonical_pair(pair: AnswerPair, room: str) -> AnswerPair:
    """The pair under the id its texts give it in a room, answers in canonical order."""
    answers = pair.answer_1, pair.answer_2
    pair = dataclasses.replace(pair, id=pair_identity(pair.prompt, *answers, pair.history, pair.system_prompt, room))
    if in_order(*answers):
        return pair
    labels: dict[str, Literal["1", "2", ""]] = {"1": "2", "2": "1", "": ""}
    return dataclasses.replace(
        pair,
        answer_1=pair.answer_2,
        answer_2=pair.answer_1,
        origin_1=pair.origin_2,
        origin_2=pair.origin_1,
        preferred=labels[pair.preferred],
    )


def _finite(origin: Origin) -> Origin:
    """An unknown ratio is NaN in a run's recipe; JSON has no such number, and None says the same."""
    known = origin.ratio is not None and math.isfinite(origin.ratio)
    return origin if known else dataclasses.replace(origin, ratio=None)
