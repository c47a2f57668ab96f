"""Rows with two answers, whatever a file calls their fields: what is common to training pairs and to pairs to be rated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from studio.domain.data import Answers, Kind, Message, Pairs, Prompts
from studio.errors import DatasetError
from studio.services.data.conversations import Split, is_turn, split_row
from studio.services.data.formats import RawRow, checked_object, checked_text, kind_of
from studio.services.data.shapes.fields import Fields, conversation_or_text, turns
from studio.services.data.shapes.table import Shape, field_names, listed, listed_fields, mapped, recognise
from studio.services.data.shapes.templates import stripped, template_token

#: How many rows or complaints one message names; a person mends these and sees the next.
_NAMED = 3
#: Names of unused fields that are remembered, and complaints about rows: a file may have one for each of a million rows.
FIELDS, COMPLAINTS = 1_000, 1_000
#: Fields about a row, by their names; none of them is its prompt.
_ABOUT = re.compile(
    r"(.*_)?(id|ids|model|models|source|category|language|lang|split|dataset|topic|tags?|type|url|hash|date|time|timestamp|author|"
    r"user|annotator|licen[cs]e|index|task|domain|subset|origin|rating|ratings|score|scores|margin|reason|rationale|explanation|"
    r"comment|metadata|feedback|name|system)(_.*)?"
)


@dataclass(frozen=True)
class ReadOptions:
    """How a person wants a file to be read.

    Attributes:
        mapping: fields mapped by hand, see ``shapes.table.mapped``.
        skip_broken: rows that break the format are left out and counted, instead of refusing the file.
        strip_templates: chat templates and special tokens that texts already hold are taken out.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    skip_broken: bool = False
    strip_templates: bool = False


#: Nothing mapped, nothing left out, nothing stripped.
AS_IT_IS = ReadOptions()


@dataclass(frozen=True)
class Parsed:
    """What a file holds, checked, before it has a name here. ``title`` and ``language`` are empty where it does not say.

    Attributes:
        shape: what the rows were read as, for a person.
        notes: what is to be known of the data for good: rows that were left out, and why.
        broken: why single rows were left out, one sentence each, as far as they are remembered.
        fields: names of the rows' fields, to map by hand.
    """

    kind: Kind
    pairs: Pairs
    heldout: Pairs = ()
    test_prompts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    title: str = ""
    language: str = ""
    source: str = ""
    prompts: Prompts = ()
    shape: str = ""
    notes: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    rated: Answers = ()
    fields: tuple[str, ...] = ()


class Told:
    """Sentences or rows of which the first :data:`COMPLAINTS` are remembered and all are counted."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.count = 0

    def add(self, text: str) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < COMPLAINTS:
            self.first.append(text)

    def join(self, other: Told) -> None:
        """Those of another, too."""
        self.count += other.count
        self.first = [*self.first, *other.first][:COMPLAINTS]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, part: slice) -> list[str]:
        return self.first[part]


class UnknownShapeError(DatasetError):
    """No row is of a known shape; ``fields`` are those that could be mapped by hand."""

    def __init__(self, message: str, fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.fields = tuple(fields)


class RowReader:
    """Takes rows of one shape apart into prompt and answers, and remembers what is worth a warning.

    Args:
        shape: where prompt and answers are.
        strip: take chat templates and special tokens out of the texts.
        keeps_empty: rows with an empty answer are used.
    """

    def __init__(self, shape: Shape, *, strip: bool = False, keeps_empty: bool = False) -> None:
        self.shape, self._strip, self._keeps_empty = shape, strip, keeps_empty
        self._unused: set[str] = set()
        self._notes: dict[str, Told] = {}
        self._templates: dict[str, None] = {}
        self._templated = Told()

    def split(self, row: RawRow) -> tuple[Split, bool, tuple[str, str], Fields]:
        """A row taken apart, whether it says that the first answer is preferred, the names of the answers, and its fields.

        Raises:
            DatasetError: as :func:`split_row`, or the row is no object, names a field twice, or has no prompt; the message names
                row and field.
        """
        shape, where = self.shape, row.where
        fields = Fields(checked_object(row), where, shape.literal)
        answers = shape.answers(fields)
        path = fields.first(shape.prompt)
        prompt = fields.get(path) if path else answers.prompt
        one, two = answers.first, answers.second
        if shape.literal:
            prompt = conversation_or_text(prompt, f"{where}: {fields.name(path)}")
            one, two = (
                conversation_or_text(held, f"{where}: {name}")
                for name, held in zip(answers.names, (one, two), strict=True)
            )
        if isinstance(prompt, list) and prompt == one:
            prompt = None  # the whole preferred conversation once more
        prompt = self._with_context(prompt, path, fields)
        if self._strip:
            prompt, one, two = stripped(prompt), stripped(one), stripped(two)
        split = split_row(prompt, one, two, answers.names, where, shape.plain, shape.implied)
        split = self._with_earlier(split, fields)
        if split.implied and not shape.shared:
            _check_guess(fields)
        if self._keeps_empty or (split.first and split.second):
            self._remember(split, where)
        if len(self._unused) < FIELDS:
            self._unused |= fields.unused().keys() - {"id"}
        return split, answers.labelled, answers.names, fields

    def note(self, text: str, where: str) -> None:
        """Remember something about a row, for a warning that lists all such rows."""
        self._notes.setdefault(text, Told()).add(where)

    def warnings(self) -> list[str]:
        """What was noted, one sentence a kind, and which fields were not used."""
        made = [f"{text} ({rows_named(where)})." for text, where in self._notes.items()]
        if self._templates:
            rows = self._templated
            made.append(
                f"{len(rows)} rows already hold a chat template or special tokens ({listed(self._templates)}; {rows_named(rows)}), "
                "and the base's own template comes on top; import with --strip-templates, or the tick for it on the page, to "
                "take them out."
            )
        return made + ([f"fields not used: {listed(sorted(self._unused))}."] if self._unused else [])

    def _with_context(self, prompt: Any, path: str, fields: Fields) -> Any:
        """The prompt with the text that belongs behind it: an instruction with its input."""
        context = next((name for name in self.shape.context if name != path and fields.get(name)), "")
        if not context or not isinstance(prompt, str):
            return prompt
        asked = checked_text(prompt, f"{fields.where}: {fields.name(path)}")
        return f"{asked}\n\n{checked_text(fields.get(context), f'{fields.where}: {fields.name(context)}')}"

    def _with_earlier(self, split: Split, fields: Fields) -> Split:
        """The row with the turns before it that stand in fields of their own, and its system prompt."""
        history = split.history
        if (path := fields.first(self.shape.history)) and fields.get(path):
            earlier = turns(fields.get(path), f"{fields.where}: {fields.name(path)}")
            history = history if history[: len(earlier)] == earlier else (*earlier, *history)
        if (path := fields.first(self.shape.system)) and fields.get(path):
            system = fields.get(path)
            if not isinstance(system, str):
                raise DatasetError(f"{fields.where}: {fields.name(path)} is {kind_of(system)}; it must be text.")
            if system.strip() and not (history and history[0].role == "system"):
                history = (Message("system", system.strip()), *history)
        return split if history is split.history else replace(split, history=history)

    def _remember(self, split: Split, where: str) -> None:
        for text in _split_notes(split):
            self.note(text, where)
        if self.shape.literal:
            texts = (split.prompt, split.first, split.second, *(turn.content for turn in split.history))
            if tokens := dict.fromkeys(filter(None, map(template_token, texts))):
                if len(self._templates) < FIELDS:
                    self._templates |= tokens
                self._templated.add(where)


def find_shape(rows: Sequence[RawRow], name: str, mapping: Mapping[str, str], missing: str) -> Shape:
    """What kind of rows these are: as mapped by hand, or by the first row that is of a known shape.

    Raises:
        DatasetError: there are no rows, or the mapping does not fit them.
        UnknownShapeError: none is of a known shape: ``missing`` says what such a row lacks.
    """
    if not rows:
        raise DatasetError(f"{name} holds no rows.")
    if mapping:
        return mapped(rows, mapping, name)
    shape = recognise(rows)
    if shape is not None:
        return shape
    try:
        checked_object(rows[0])
    except DatasetError as error:
        raise DatasetError(f"{name}, {error}") from None
    raise UnknownShapeError(
        f"{name}, {rows[0].where}: {missing}; it has {listed_fields(rows[:1])}. Map them by hand (--map prompt=… --map chosen=… "
        "--map rejected=…, or the menus on the page).",
        field_names(rows[:100]),
    )


def _check_guess(fields: Fields) -> None:
    """Refuse to guess a prompt while a field that could be it is not used."""
    could = [
        name
        for name, value in fields.unused().items()
        if not _ABOUT.fullmatch(name.strip().lower().replace(" ", "_").replace("-", "_")) and _is_wordy(value)
    ]
    if could:
        raise DatasetError(
            f"{fields.where}: prompt is missing, and {listed(could)} could be it; map it (--map prompt={could[0]}), or map the "
            "prompt to nothing (--map prompt=) where it is what both answers begin with."
        )


def _is_wordy(value: Any) -> bool:
    """Whether a value could be something that was asked: words, or turns."""
    if isinstance(value, list):
        return bool(value) and is_turn(value[0])
    return isinstance(value, str) and (" " in value.strip() or not value.isascii())


def _split_notes(split: Split) -> list[str]:
    """What taking a row apart did to it."""
    notes = (
        (split.longer, "the conversation goes on after the first answer that differs; only that answer is used"),
        (
            split.continued,
            "the transcripts part elsewhere than at an answer; all after their last common question is used",
        ),
        (split.tidied, "empty turns are left out, turns in a row of one speaker joined"),
        (not (split.first and split.second), "one of the answers is empty; it is kept as that"),
        (split.implied, "no prompt given: taken from the beginning both answers share"),
    )
    return [text for holds, text in notes if holds]


def check_broken(broken: Sequence[str] | Told, some: bool, skip: bool, name: str) -> None:
    """Raises DatasetError where rows are broken, unless they are to be skipped and ``some`` can be read."""
    if broken and not (skip and some):
        way_out = " Rows that can be read are kept with --skip-broken, or the tick on the page." if some else ""
        raise DatasetError(f"{name}, {complaints(broken)}{way_out}")


def broken_left_out(broken: Told) -> list[str]:
    """A sentence on the broken rows that were left out, if there are any."""
    return [f"{len(broken)} broken rows left out: {complaints(broken)}"] if broken else []


def as_parsed(
    name: str, kind: Kind, shape: str, warnings: Iterable[str], notes: Iterable[str], broken: Told, **rows: Any
) -> Parsed:
    """What was read of the file ``name``; ``rows`` are the pairs, prompts or rated answers."""
    lines = tuple(f"{name}: {warning}" for warning in warnings)
    rows = {"pairs": (), **rows}
    return Parsed(kind, shape=shape, warnings=lines, notes=tuple(notes), broken=tuple(broken.first), **rows)


def complaints(sentences: Sequence[str] | Told) -> str:
    """The first few complaints about rows, and how many more rows have faults."""
    more = len(sentences) - _NAMED
    shown = " ".join(sentences[:_NAMED])
    return shown if more <= 0 else f"{shown} (and {more} more row{'s' * (more > 1)} with faults)"


def rows_named(where: Sequence[str] | Told) -> str:
    """Rows of a file in a sentence: the first few, and how many more."""
    shown = ", ".join(where[:_NAMED])
    return shown if len(where) <= _NAMED else f"{shown} and {len(where) - _NAMED} more"
