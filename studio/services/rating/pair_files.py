"""Comparison data into pairs to be rated: two answers to one prompt, whatever the file calls them.

Besides the formats of ``imports`` (chosen/rejected in all its shapes, support/oppose, the studio's own JSON) these are
``instruction/(input)/response-1/response-2``, as the curated Dolly comparisons have them, and the rows of the studio's own
export of pairs. Which answer a file prefers is kept with the pair and never shown before a vote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from studio.domain.data import Message, PreferencePair
from studio.domain.votes import NewPair, Origin
from studio.errors import DatasetError, InputError
from studio.services.data.conversations import SameAnswersError, split_row
from studio.services.data.formats import RawRow, TwiceNamed, checked_text, kind_of
from studio.services.data.preference_rows import listed, parse_own, rows_named, split_notes
from studio.services.files.records import parse
from studio.services.rating import pair_id as identity
from studio.services.texts import normalised

Shape = Literal["labels", "sides", "responses", "pairs"]

_RESPONSE = re.compile(r"(response|answer|completion|output|generation)([-_ ]?)([12ab])", re.IGNORECASE)
_PROMPTS = ("prompt", "instruction", "question")
_CONTEXTS = ("input", "context")
#: Fields that are used, besides the two answers.
_USED = {"id", "history", "system_prompt", "origin_1", "origin_2", "preferred", *_PROMPTS, *_CONTEXTS}
_LABEL = 120


@dataclass(frozen=True)
class Comparisons:
    """What a file holds, checked. ``rows`` = pairs + ``identical`` + skipped; ``skipped`` says why, one sentence a row;
    ``warnings`` say what was done to rows that are used, and which rows have identical answers."""

    rows: int
    pairs: tuple[NewPair, ...]
    identical: int
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]


def read_comparisons(document: Sequence[RawRow] | dict[str, Any], name: str) -> Comparisons:
    """Pairs from the rows of a file, or from the studio's own JSON object. ``name`` is what the answers are called by
    where the file does not say who gave them.

    Raises:
        DatasetError: there are no rows, no two answers are to be found in them, or every one of them is broken.
    """
    title = " ".join(Path(name).name.split(".")[0].split())[:_LABEL] or "import"
    if isinstance(document, dict):
        parsed = parse_own(document, name)
        made = [_of_dataset(pair, parsed.kind, title) for pair in (*parsed.pairs, *parsed.heldout)]
        rows = [(f"row {number}", partial(_known, pair)) for number, pair in enumerate(made, 1)]
        kept, identical, skipped = _sorted_out(rows, ("support", "oppose"))
        notes: Sequence[str] = parsed.warnings
    else:
        if not document:
            raise DatasetError(f"{name} holds no rows.")
        shape, fields = _shape(document, name)
        reader = _Reader(shape, fields, title)
        rows = [(row.where, partial(reader.pair, row)) for row in document]
        kept, identical, skipped = _sorted_out(rows, fields)
        notes = reader.warnings(name)
    if not kept and skipped:
        more = f" (and {len(skipped) - 3} more)" if len(skipped) > 3 else ""
        raise DatasetError(f"{name} has no row that can be used: {' '.join(skipped[:3])}{more}")
    if identical:
        told = f"{name}: both answers are the same, so there is nothing to compare ({rows_named(identical)})."
        notes = (told, *notes)
    return Comparisons(len(rows), tuple(kept), len(identical), tuple(skipped), tuple(notes))


def _known(pair: NewPair) -> NewPair:
    return pair


def _sorted_out(
    rows: Iterable[tuple[str, Callable[[], NewPair]]], fields: tuple[str, str]
) -> tuple[list[NewPair], list[str], list[str]]:
    """The pairs that can be rated, where those with identical answers stand, and why others cannot be used; each in the
    order of the file. A row is where it stands and what reads it."""
    kept: list[NewPair] = []
    identical, skipped = [], []
    for where, read in rows:
        try:
            pair = read()
            for field, answer in zip(fields, (pair.answer_a, pair.answer_b), strict=True):
                if not normalised(answer):
                    raise DatasetError(f"{where}: {field} holds no answer, so there is nothing to compare.")
                identity.check_text(f"{where}: {field}", answer)
            identity.check_pair(pair, f"{where}: ")
        except SameAnswersError:
            identical.append(where)
        except InputError as error:
            skipped.append(str(error))
        else:
            if identity.same_answer(pair.answer_a, pair.answer_b):
                identical.append(where)
            else:
                kept.append(pair)
    return kept, identical, skipped


def _shape(rows: Sequence[RawRow], name: str) -> tuple[Shape, tuple[str, str]]:
    """What kind of rows these are and which fields hold the answers: by the first row that has two."""
    for row in rows:
        keys = list(row.value) if isinstance(row.value, dict) else []
        if {"answer_1", "answer_2"} <= set(keys):
            return "pairs", ("answer_1", "answer_2")
        for shape, fields in (("labels", ("chosen", "rejected")), ("sides", ("support", "oppose"))):
            if set(fields) & set(keys):
                return shape, fields  # type: ignore[return-value]
        found = [key for key in keys if isinstance(key, str) and _RESPONSE.fullmatch(key)]
        if len(found) == 2:
            return "responses", (min(found), max(found))
    first = rows[0]
    if not isinstance(first.value, dict):
        raise DatasetError(f"{name}, {first.where} is {kind_of(first.value)}; it must be an object with named fields.")
    raise DatasetError(
        f"{name}, {first.where}: there are no two answers in it (response-1 and response-2, chosen and rejected, or support "
        f"and oppose); it has {listed(map(str, first.value)) or 'no fields'}."
    )


class _Reader:
    """Reads rows of one shape and remembers what is worth a warning."""

    def __init__(self, shape: Shape, fields: tuple[str, str], title: str) -> None:
        self._shape, self._fields, self._title = shape, fields, title
        self._ignored: set[str] = set()
        self._notes: dict[str, list[str]] = {}

    def pair(self, row: RawRow) -> NewPair:
        """Raises InputError, naming row and field; SameAnswersError where both answers are the same."""
        value, where = row.value, row.where
        if not isinstance(value, dict):
            raise DatasetError(f"{where} is {kind_of(value)}; it must be an object with named fields.")
        if isinstance(value, TwiceNamed):
            raise DatasetError(f"{where}: {value.twice} is given twice.")
        first, second = self._fields
        # What a model said may well begin with "Human:"; only labelled data is made of transcripts.
        plain = self._shape in ("responses", "pairs")
        split = split_row(self._asked(value, where), first, second, where, plain)
        for text in split_notes(split):
            if split.first and split.second:
                self._notes.setdefault(text, []).append(where)
        names = {f"{stem}{mark}{end}" for stem in ("model",) for mark in "_-" for end in "12ab"}
        self._ignored |= {str(key) for key, held in value.items() if held is not None} - _USED - {first, second} - names
        system, history = _system(value, split.history, where)
        return NewPair(
            prompt=split.prompt,
            answer_a=split.first,
            answer_b=split.second,
            origin_a=self._origin(value, 0, where),
            origin_b=self._origin(value, 1, where),
            source="import",
            history=history,
            system_prompt=system,
            preferred=self._preferred(value),
        )

    def warnings(self, name: str) -> tuple[str, ...]:
        made = [f"{name}: {text} ({rows_named(where)})." for text, where in self._notes.items()]
        if self._ignored:
            made.append(f"{name}: fields not used: {listed(sorted(self._ignored))}.")
        return tuple(made)

    def _asked(self, value: dict[str, Any], where: str) -> dict[str, Any]:
        """The row with its prompt under that name: an instruction with its input, a prompt with the turns before it."""
        field = next((name for name in _PROMPTS if value.get(name) is not None), None)
        if field is None:
            if self._shape == "labels":
                return {**value, "prompt": None}
            raise DatasetError(f"{where}: prompt (or instruction) is missing.")
        prompt = value[field]
        context = next((value[name] for name in _CONTEXTS if value.get(name)), None)
        if context is not None and isinstance(prompt, str):
            prompt = f"{checked_text(prompt, f'{where}: {field}')}\n\n{checked_text(context, f'{where}: input')}"
        history = value.get("history")
        if history:
            if not isinstance(history, list):
                raise DatasetError(f"{where}: history is {kind_of(history)}; it must be a list of turns.")
            prompt = [*history, {"role": "user", "content": checked_text(prompt, f"{where}: {field}")}]
        elif isinstance(prompt, str):
            prompt = checked_text(prompt, f"{where}: {field}")
        return {**value, "prompt": prompt}

    def _origin(self, value: dict[str, Any], place: Literal[0, 1], where: str) -> Origin:
        told = value.get(f"origin_{place + 1}")
        if self._shape == "pairs" and told is not None:
            return parse(Origin, told, f"{where}: origin_{place + 1}")
        for key in (f"model{mark}{end}" for mark in "_-" for end in ("12"[place], "ab"[place])):
            name = value.get(key)
            if isinstance(name, str) and name.strip():
                return Origin("import", " ".join(name.split())[:_LABEL])
        return Origin("import", _label(self._shape, self._fields[place], self._title))

    def _preferred(self, value: dict[str, Any]) -> Literal["a", "b", ""]:
        if self._shape == "labels":
            return "a"
        told = value.get("preferred") if self._shape == "pairs" else None
        return "a" if told == "1" else "b" if told == "2" else ""


def _label(shape: Shape, field: str, title: str) -> str:
    """Both answers of a labelled row are called the same: a name that says which was chosen would give the label away."""
    return title if shape == "labels" else f"{title}: {field}"


def _system(value: dict[str, Any], history: tuple[Message, ...], where: str) -> tuple[str, tuple[Message, ...]]:
    """System prompt and turns; a system turn at the beginning is the system prompt."""
    told = value.get("system_prompt") or ""
    if not isinstance(told, str):
        raise DatasetError(f"{where}: system_prompt is {kind_of(told)}; it must be text.")
    if not told and history and history[0].role == "system":
        return history[0].content, history[1:]
    return told, history


def _of_dataset(pair: PreferencePair, kind: Literal["sides", "labels"], title: str) -> NewPair:
    fields = ("support", "oppose")
    made = NewPair(
        prompt=pair.prompt,
        answer_a=pair.support,
        answer_b=pair.oppose,
        origin_a=Origin("import", _label(kind, fields[0], title)),
        origin_b=Origin("import", _label(kind, fields[1], title)),
        source="import",
        preferred="a" if kind == "labels" else "",
    )
    system, history = _system({}, pair.history, pair.id)
    return replace(made, history=history, system_prompt=system)
