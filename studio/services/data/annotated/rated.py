"""Single answers with a thumb up or down (``prompt, completion, label``), as TRL's KTO trains on them. Pure.

https://huggingface.co/docs/trl/dataset_formats, unpaired preference.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from studio.domain.data import Message, PreferencePair, RatedAnswer
from studio.errors import InputError, RecipeError
from studio.services.data.prompt_key import prompt_key
from studio.services.files.tables import BOM, csv_text
from studio.services.wording import counted


def pairs_of(rated: Sequence[RatedAnswer]) -> tuple[PreferencePair, ...]:
    """The pairs that rated answers make: the n-th liked answer to a prompt with the n-th one that is not."""
    asked: dict[tuple[str, ...], tuple[list[RatedAnswer], list[RatedAnswer]]] = {}
    for answer in rated:
        asked.setdefault(prompt_key(answer), ([], []))[not answer.liked].append(answer)
    both = [pair for liked, others in asked.values() for pair in zip(liked, others, strict=False)]
    return tuple(
        PreferencePair(str(number), up.prompt, up.completion, down.completion, up.history)
        for number, (up, down) in enumerate(both, 1)
        if up.completion != down.completion
    )


def chosen_rows(rated: Sequence[RatedAnswer], data_size: int, seed: int) -> tuple[RatedAnswer, ...]:
    """The first ``data_size`` answers in an order drawn by ``seed``, the two kinds spread evenly: KTO trains in a fixed order, and a
    batch should have some of both.

    Raises:
        RecipeError: the size is not a whole number from 1 to ``len(rated)``.
    """
    if isinstance(data_size, bool) or not isinstance(data_size, int) or not 1 <= data_size <= len(rated):
        raise RecipeError(
            f"data_size is {data_size!r}; it must be a whole number from 1 to {len(rated)}, the rated answers."
        )
    draw, placed = random.Random(seed), []
    for liked in (True, False):
        rows = [answer for answer in rated[:data_size] if answer.liked == liked]
        draw.shuffle(rows)
        placed += [((place + 0.5) / len(rows), row) for place, row in enumerate(rows)]
    return tuple(row for _, row in sorted(placed, key=lambda one: one[0]))


def named_answers(rated: Sequence[RatedAnswer], row_ids: Sequence[str]) -> tuple[RatedAnswer, ...]:
    """The answers that a recipe names.

    Raises:
        InputError: one is not among ``rated``.
    """
    by_id = {answer.id: answer for answer in rated}
    for row_id in row_ids:
        if row_id not in by_id:
            raise InputError(f"The run's data lacks the rated answer {row_id!r}, which it trains on.")
    return tuple(by_id[row_id] for row_id in row_ids)


def count_thumbs(rated: Sequence[RatedAnswer]) -> str:
    """How many there are, in words: ``5 rated answers: 3 up, 2 down``."""
    liked = sum(answer.liked for answer in rated)
    return f"{counted(len(rated), 'rated answer')}: {liked} up, {len(rated) - liked} down"


def trl_rows(rated: Sequence[RatedAnswer]) -> list[dict[str, Any]]:
    """The rows as TRL takes them: all of them texts, or all conversations where one has turns before its prompt."""
    if not any(answer.history for answer in rated):
        return [{"prompt": a.prompt, "completion": a.completion, "label": a.liked} for a in rated]
    return [
        {
            "prompt": [_turn(turn) for turn in (*a.history, Message("user", a.prompt))],
            "completion": [_turn(Message("assistant", a.completion))],
            "label": a.liked,
        }
        for a in rated
    ]


def kto_file(rated: Sequence[RatedAnswer], kind: str) -> bytes:
    """:func:`trl_rows` as a file, ``jsonl`` or ``csv`` (conversations as JSON in their cells).

    Raises:
        InputError: it is another kind.
    """
    if kind not in ("jsonl", "csv"):
        raise InputError(f"format is {kind[:40]!r}; it must be jsonl or csv.")
    rows = trl_rows(rated)
    if kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    cells = [
        {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in row.items()} for row in rows
    ]
    return (BOM + csv_text(("prompt", "completion", "label"), cells)).encode()


def _turn(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}
