"""Comparison data into pairs to be rated: two answers to one prompt, whatever the file calls them.

Besides the formats of ``preference_rows`` (chosen/rejected in all its shapes, support/oppose, the studio's own JSON) these are
``instruction/(input)/response-1/response-2``, as the curated Dolly comparisons have them, and the rows of the studio's own
export of pairs. Which answer a file prefers is kept with the pair and never shown before a vote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from studio.domain.data import Message, PreferencePair
from studio.domain.votes import NewPair, Origin
from studio.errors import DatasetError, InputError
from studio.services.data.conversations import SameAnswersError
from studio.services.data.formats import RawRow, kind_of
from studio.services.data.preference_rows import parse_own
from studio.services.data.row_reader import ANSWERS, RowReader, complaints, find_shape, rows_named
from studio.services.files.records import parse
from studio.services.rating import pair_id as identity
from studio.services.texts import normalised

Shape = Literal["labels", "sides", "responses", "pairs"]

_RESPONSE = re.compile(r"(response|answer|completion|output|generation)([-_ ]?)([12ab])", re.IGNORECASE)
_MODELS = tuple((f"model_{end}", f"model-{end}") for end in "12ab")
#: Fields that are used, besides prompt and answers.
_USED = {"system_prompt", "origin_1", "origin_2", "preferred", *(name for names in _MODELS for name in names)}
_MISSING = "there are no two answers in it (response-1 and response-2, chosen and rejected, or support and oppose)"
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
    warnings: Sequence[str]
    if isinstance(document, dict):
        parsed = parse_own(document, name)
        fields = ANSWERS["sides"]
        made = [_of_dataset(pair, parsed.kind, title) for pair in (*parsed.pairs, *parsed.heldout)]
        rows = [(f"row {number}", partial(_known, pair)) for number, pair in enumerate(made, 1)]
        kept, identical, skipped = _sorted_out(rows, fields)
        warnings = parsed.warnings
    else:
        shape, fields = find_shape(document, name, _shape, _MISSING)
        reader = _ComparisonReader(shape, fields, title)
        rows = [(row.where, partial(reader.pair, row)) for row in document]
        kept, identical, skipped = _sorted_out(rows, fields)
        warnings = [f"{name}: {warning}" for warning in reader.warnings()]
    if not kept and skipped:
        raise DatasetError(f"{name} has no row that can be used: {complaints(skipped)}")
    if identical:
        same = f"{name}: both answers are the same, so there is nothing to compare ({rows_named(identical)})."
        warnings = (same, *warnings)
    return Comparisons(len(rows), tuple(kept), len(identical), tuple(skipped), tuple(warnings))


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


def _shape(row: dict[str, Any]) -> tuple[Shape, tuple[str, str]] | None:
    """What kind of row this is and which fields hold the answers; None where it has no two."""
    if {"answer_1", "answer_2"} <= set(row):
        return "pairs", ("answer_1", "answer_2")
    for kind in ("labels", "sides"):
        if set(ANSWERS[kind]) & set(row):
            return kind, ANSWERS[kind]
    responses = [key for key in row if isinstance(key, str) and _RESPONSE.fullmatch(key)]
    return ("responses", (min(responses), max(responses))) if len(responses) == 2 else None


class _ComparisonReader(RowReader):
    """Reads rows of one shape. What a model said may well begin with "Human:"; only labelled data is made of transcripts."""

    def __init__(self, shape: Shape, fields: tuple[str, str], title: str) -> None:
        super().__init__(
            fields,
            _USED,
            prompts=("prompt", "instruction", "question"),
            contexts=("input", "context"),
            implied=shape == "labels",
            plain=shape in ("responses", "pairs"),
        )
        self._shape, self._title = shape, title

    def pair(self, row: RawRow) -> NewPair:
        """Raises InputError, naming row and field; SameAnswersError where both answers are the same."""
        split = self.split(row)
        value: dict[str, Any] = row.value
        system, history = _system(value.get("system_prompt"), split.history, row.where)
        return NewPair(
            prompt=split.prompt,
            answer_a=split.first,
            answer_b=split.second,
            origin_a=self._origin(value, 0, row.where),
            origin_b=self._origin(value, 1, row.where),
            source="import",
            history=history,
            system_prompt=system,
            preferred=self._preferred(value),
        )

    def _origin(self, value: dict[str, Any], place: Literal[0, 1], where: str) -> Origin:
        origin = value.get(f"origin_{place + 1}")
        if self._shape == "pairs" and origin is not None:
            return parse(Origin, origin, f"{where}: origin_{place + 1}")
        for model in (value.get(key) for names in (_MODELS[place], _MODELS[place + 2]) for key in names):
            if isinstance(model, str) and model.strip():
                return Origin("import", " ".join(model.split())[:_LABEL])
        return Origin("import", _label(self._shape, self._answers[place], self._title))

    def _preferred(self, value: dict[str, Any]) -> Literal["a", "b", ""]:
        if self._shape == "labels":
            return "a"
        preferred = value.get("preferred") if self._shape == "pairs" else None
        return "a" if preferred == "1" else "b" if preferred == "2" else ""


def _label(shape: Shape, field: str, title: str) -> str:
    """Both answers of a labelled row are called the same: a name that says which was chosen would give the label away."""
    return title if shape == "labels" else f"{title}: {field}"


def _system(given: Any, history: tuple[Message, ...], where: str) -> tuple[str, tuple[Message, ...]]:
    """System prompt and turns; a system turn at the beginning is the system prompt."""
    if given and not isinstance(given, str):
        raise DatasetError(f"{where}: system_prompt is {kind_of(given)}; it must be text.")
    if not given and history and history[0].role == "system":
        return history[0].content, history[1:]
    return given or "", history


def _of_dataset(pair: PreferencePair, kind: Literal["sides", "labels"], title: str) -> NewPair:
    system, history = _system("", pair.history, pair.id)
    first, second = (Origin("import", _label(kind, field, title)) for field in ANSWERS["sides"])
    return NewPair(
        pair.prompt,
        pair.support,
        pair.oppose,
        first,
        second,
        "import",
        history=history,
        system_prompt=system,
        preferred="a" if kind == "labels" else "",
    )
