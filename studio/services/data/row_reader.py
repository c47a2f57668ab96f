"""Rows with two answers, whatever a file calls their fields: what is common to training pairs and to pairs to be rated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from studio.domain.data import PreferencePair
from studio.errors import DatasetError
from studio.services.data.conversations import Split, split_row
from studio.services.data.formats import RawRow, checked_object, checked_text, kind_of

Kind = Literal["sides", "labels"]
Shape = TypeVar("Shape")
#: The fields that hold the answers.
ANSWERS: dict[Kind, tuple[str, str]] = {"sides": ("support", "oppose"), "labels": ("chosen", "rejected")}
#: How many rows or complaints one message names; a person mends these and sees the next.
_NAMED = 3


@dataclass(frozen=True)
class Parsed:
    """What a file holds, checked, before it has a name here. ``title`` and ``language`` are empty where it does not say."""

    kind: Kind
    pairs: tuple[PreferencePair, ...]
    heldout: tuple[PreferencePair, ...] = ()
    test_prompts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    title: str = ""
    language: str = ""
    source: str = ""
    prompts: tuple[str, ...] = ()


class RowReader:
    """Takes rows apart into prompt and answers, and remembers what is worth a warning.

    Args:
        answers: the fields of the two answers.
        used: further fields that are used, for the warning that names the others.
        prompts: names of the prompt's field, the first that is there counts; ``contexts`` of a text that is put behind it.
        implied: a row may be without one: the prompt is what the answers share.
        plain: answers are what they are; one that begins with "Human:" is no transcript.
        keeps_empty: rows with an empty answer are used.
    """

    def __init__(
        self,
        answers: tuple[str, str],
        used: Collection[str],
        *,
        prompts: Sequence[str] = ("prompt",),
        contexts: Sequence[str] = (),
        implied: bool = False,
        plain: bool = False,
        keeps_empty: bool = False,
    ) -> None:
        self._answers, self._prompts, self._contexts = answers, prompts, contexts
        self._used = {*used, *answers, *prompts, *contexts, "id", "history"}
        self._implied, self._plain, self._keeps_empty = implied, plain, keeps_empty
        self._unused: set[str] = set()
        self._notes: dict[str, list[str]] = {}

    def split(self, row: RawRow) -> Split:
        """A row taken apart.

        Raises:
            DatasetError: as :func:`split_row`, or the row is no object, names a field twice, or has no prompt; the message names
                row and field.
        """
        value = checked_object(row)
        split = split_row(self._with_prompt(value, row.where), *self._answers, row.where, self._plain)
        if self._keeps_empty or (split.first and split.second):
            for text in _split_notes(split):
                self.note(text, row.where)
        # a table made of rows that lack a column holds None in it
        self._unused |= {str(key) for key, held in value.items() if held is not None} - self._used
        return split

    def note(self, text: str, where: str) -> None:
        """Remember something about a row, for a warning that lists all such rows."""
        self._notes.setdefault(text, []).append(where)

    def warnings(self) -> list[str]:
        """What was noted, one sentence a kind, and which fields were not used."""
        made = [f"{text} ({rows_named(where)})." for text, where in self._notes.items()]
        return made + ([f"fields not used: {listed(sorted(self._unused))}."] if self._unused else [])

    def _with_prompt(self, value: dict[str, Any], where: str) -> dict[str, Any]:
        """The row with its prompt under that name: an instruction with its input, a prompt with the turns before it."""
        field = next((name for name in self._prompts if value.get(name) is not None), "prompt")
        prompt, history = value.get(field), value.get("history")
        context = next((value[name] for name in self._contexts if value.get(name)), None)
        if prompt is None and not self._implied:
            raise DatasetError(f"{where}: prompt{' (or instruction)' if len(self._prompts) > 1 else ''} is missing.")
        if context is not None and isinstance(prompt, str):
            prompt = f"{checked_text(prompt, f'{where}: {field}')}\n\n{checked_text(context, f'{where}: input')}"
        if history:
            if not isinstance(history, list):
                raise DatasetError(f"{where}: history is {kind_of(history)}; it must be a list of turns.")
            prompt = [*history, {"role": "user", "content": checked_text(prompt, f"{where}: {field}")}]
        return {**value, "prompt": prompt}


def find_shape(
    rows: Sequence[RawRow], name: str, shape_of: Callable[[dict[str, Any]], Shape | None], missing: str
) -> Shape:
    """What kind of rows these are: by the first of which ``shape_of`` can say it.

    Raises:
        DatasetError: there are no rows, or none is of a known kind: ``missing`` says what such a row lacks.
    """
    if not rows:
        raise DatasetError(f"{name} holds no rows.")
    for row in rows:
        shape = shape_of(row.value) if isinstance(row.value, dict) else None
        if shape is not None:
            return shape
    try:
        fields = checked_object(rows[0])
    except DatasetError as error:
        raise DatasetError(f"{name}, {error}") from None
    raise DatasetError(f"{name}, {rows[0].where}: {missing}; it has {listed(map(str, fields)) or 'no fields'}.")


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


def complaints(sentences: Sequence[str]) -> str:
    """The first few complaints about rows, and how many more rows have faults."""
    more = len(sentences) - _NAMED
    shown = " ".join(sentences[:_NAMED])
    return shown if more <= 0 else f"{shown} (and {more} more row{'s' * (more > 1)} with faults)"


def rows_named(where: Sequence[str]) -> str:
    """Rows of a file in a sentence: the first few, and how many more."""
    shown = ", ".join(where[:_NAMED])
    return shown if len(where) <= _NAMED else f"{shown} and {len(where) - _NAMED} more"


def listed(names: Iterable[str]) -> str:
    """Names from a file, bounded: a file may have thousands, or a sentence for one."""
    shown = [" ".join(name.split())[:40] for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
