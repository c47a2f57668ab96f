"""How the two answers of a row are found: in two fields, in a list, or by what the row says of them.

Each function here makes a reader: it takes a row's :class:`Fields` and gives its :class:`Answers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from studio.errors import DatasetError
from studio.services.data.conversations import is_turn
from studio.services.data.formats import kind_of
from studio.services.data.shapes.fields import Fields, is_absent, key_of


@dataclass(frozen=True)
class Answers:
    """Two answers as the row has them, texts or turns, and their names in messages. ``labelled``: the row says that the first is
    preferred. ``prompt`` is given where it does not stand in a field of its own."""

    first: Any
    second: Any
    names: tuple[str, str]
    labelled: bool = True
    prompt: Any = None


Pick = Callable[[Fields], Answers]

#: Two answers side by side, told apart by their ending.
_NUMBERED = re.compile(
    r"(?:(?:human_ref|response|answer|completion|output|generation|candidate|reply|conversation|text|summary)_?)([012ab])"
)
#: What names the better of two such answers, in the order in which it counts.
_CHOICES = (
    "winner", "preferred", "preference", "better_response_id", "safer_response_id", "better", "best", "choice", "chosen",
    "label", "labels", "overall_preference", "preference_strength",
)  # fmt: skip
_TIES = {"tie", "equal", "same", "draw", "both", "neither", "none", "tie_(bothbad)", "both_bad", "bothbad"}


def two(first: str, second: str, labelled: bool = True) -> Pick:
    """The answers stand in two fields, the preferred one first."""

    def pick(fields: Fields) -> Answers:
        return Answers(fields.get(first), fields.get(second), (fields.name(first), fields.name(second)), labelled)

    return pick


def after_messages(messages: str, rejected: str) -> Pick:
    """The preferred answer ends a conversation; the other stands alone."""

    def pick(fields: Fields) -> Answers:
        whole, other = fields.get(messages), fields.get(rejected)
        if not isinstance(whole, list) or not whole:
            raise DatasetError(
                f"{fields.where}: {fields.name(messages)} is {_said(whole)}; it must be a list of turns."
            )
        return Answers(whole, [*whole[:-1], _as_turn(other)], (fields.name(messages), fields.name(rejected)))

    return pick


def in_list(field: str) -> Pick:
    """A list holds the preferred answer, then the other."""

    def pick(fields: Fields) -> Answers:
        held, name = _list(fields, field), fields.name(field)
        if len(held) < 2:
            raise DatasetError(
                f"{fields.where}: {name} holds {len(held)} answers; it must hold the better and the worse."
            )
        return Answers(held[0], held[1], (f"{name}, first", f"{name}, second"))

    return pick


def rated(field: str, ratings: Sequence[str]) -> Pick:
    """A list of answers, and another of their ratings: the best and the worst are taken."""

    def pick(fields: Fields) -> Answers:
        held, name = _list(fields, field), fields.name(field)
        path = fields.first(tuple(ratings))
        marks = _list(fields, path)
        if len(held) != len(marks):
            raise DatasetError(
                f"{fields.where}: {name} holds {len(held)} answers, {fields.name(path)} {len(marks)} ratings."
            )
        return _best_and_worst(fields.where, name, list(zip(held, marks, strict=True)))

    return pick


def scored(field: str, answer: Sequence[str], score: Sequence[str], lower_is_better: bool = False) -> Pick:
    """A list of objects, each an answer with its score or rank: the best and the worst are taken."""

    def pick(fields: Fields) -> Answers:
        held, name = _list(fields, field), fields.name(field)
        picks = []
        for item in held:
            text, mark = _held(item, answer, fields.where), _held(item, score, fields.where)
            picks.append((text, -mark if lower_is_better and _is_number(mark) else mark))
        return _best_and_worst(fields.where, name, picks)

    return pick


def chosen_of(field: str, answer: Sequence[str], choice: str) -> Pick:
    """A list of two objects, each with an answer, and the place (from 0) of the better one in another field."""

    def pick(fields: Fields) -> Answers:
        held, name, place = _list(fields, field), fields.name(field), fields.get(choice)
        if len(held) != 2:
            raise DatasetError(f"{fields.where}: {name} holds {len(held)} answers; it must hold two.")
        if isinstance(place, bool) or place not in (0, 1):
            raise DatasetError(f"{fields.where}: {fields.name(choice)} is {_said(place)}; it must be 0 or 1.")
        texts = [_held(item, answer, fields.where) for item in held]
        better = int(place)
        return Answers(texts[better], texts[1 - better], (f"{name}[{better}]", f"{name}[{1 - better}]"))

    return pick


def numbered(one: str, other: str) -> Pick:
    """The answers stand in two fields told apart by their endings; perhaps another names the better one.

    The reader raises DatasetError where that one names neither.
    """

    def pick(fields: Fields) -> Answers:
        first, second = fields.get(one), fields.get(other)
        names = fields.name(one), fields.name(other)
        better = _better(fields, key_of(one), key_of(other))
        if better == 2:
            return Answers(second, first, (names[1], names[0]))
        return Answers(first, second, names, labelled=better == 1)

    return pick


def exported(fields: Fields) -> Answers:
    """The answers of a row of this studio's export of pairs; ``preferred`` is the label of the file it once came from."""
    answers = [(fields.get(name), fields.name(name)) for name in ("answer_1", "answer_2")]
    preferred = fields.get("preferred")
    (first, one), (second, two) = reversed(answers) if preferred == "2" else answers
    return Answers(first, second, (one, two), labelled=preferred in ("1", "2"))


def numbered_names(fields: Fields) -> tuple[str, str] | None:
    """The names of the two answers that :func:`numbered` would read, as the file spells them; None where there are not just two
    of a kind."""
    names = sorted(key for key in fields.keys if _NUMBERED.fullmatch(key))
    stems = {key[:-1].rstrip("_") for key in names}
    return (fields.name(names[0]), fields.name(names[1])) if len(names) == 2 and len(stems) == 1 else None


def _better(fields: Fields, one: str, other: str) -> int:
    """1 or 2: which answer the row prefers; 0 where it prefers none.

    Raises:
        DatasetError: it names something that is neither.
    """
    ends = one[-1], other[-1]
    for side in (1, 2):  # as the arena's table has it: a flag for each outcome
        if str(fields.get(f"winner_model_{ends[side - 1]}")).lower() in ("1", "1.0", "true"):
            return side
    if "winner_tie" in fields.keys:
        return 0
    for path in _CHOICES:
        if path not in fields:
            continue
        value = fields.get(path)
        if path == "labels" and _is_number(value) and ends == ("a", "b"):  # SHP: 1 where A is preferred
            return 1 if value == 1 else 2
        if path in ("overall_preference", "preference_strength") and _is_number(
            value
        ):  # HelpSteer: below 0 where the first is preferred
            return 1 if value < 0 else 2 if value > 0 else 0
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        plain = key_of(str(value))
        for side, name in ((1, one), (2, other)):
            if plain in (name, name[-1], f"model_{name[-1]}", name.replace("_", "")):
                return side
        if plain in _TIES:
            return 0
        if isinstance(value, str | int) and path not in ("label", "labels", "chosen"):
            raise DatasetError(
                f"{fields.where}: {fields.name(path)} is {str(value)[:40]!r}, which names neither {one} nor {other}."
            )
    scores = [fields.get(f"score_{end}") for end in ends]
    if all(map(_is_number, scores)) and scores[0] != scores[1]:
        return 1 if scores[0] > scores[1] else 2
    return 0


def _best_and_worst(where: str, name: str, picks: Sequence[tuple[Any, Any]]) -> Answers:
    marked = [(text, float(mark)) for text, mark in picks if _is_number(mark) and not is_absent(text)]
    if len(marked) < 2:
        raise DatasetError(f"{where}: {name} holds {len(marked)} answers with a rating; a preference needs two.")
    best = max(marked, key=lambda item: item[1])
    worst = min(reversed(marked), key=lambda item: item[1])
    names = f"{name}, best", f"{name}, worst"
    return Answers(best[0], worst[0], names, labelled=best[1] > worst[1])


def _list(fields: Fields, path: str) -> list[Any]:
    value = fields.get(path)
    if not isinstance(value, list):
        raise DatasetError(f"{fields.where}: {fields.name(path)} is {_said(value)}; it must be a list.")
    return value


def _held(item: Any, names: Sequence[str], where: str) -> Any:
    """The first of the named fields that an object in a list has."""
    within = Fields(item if isinstance(item, dict) else {}, where)
    return within.get(within.first(tuple(names)))


def _as_turn(value: Any) -> Any:
    return value if is_turn(value) else {"role": "assistant", "content": value}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not is_absent(value)


def _said(value: Any) -> str:
    return "text" if isinstance(value, str) else kind_of(value)
