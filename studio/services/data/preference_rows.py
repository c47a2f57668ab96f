"""Raw rows into preference pairs: which format it is, every row checked, every complaint with its row and field.

Three formats are known: *sides* (``id, prompt, support, oppose``: the course's), *labels* (TRL's ``prompt, chosen,
rejected``, prompt given or implied, plain or conversational, and HH transcripts), and the studio's own JSON object with
``pairs`` and ``heldout``, in which datasets are shipped and kept.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from studio.domain.data import PreferencePair
from studio.errors import DatasetError
from studio.services.data.conversations import SameAnswersError, Split, split_row
from studio.services.data.formats import RawRow, TwiceNamed, checked_text, kind_of
from studio.services.data.prompt_key import prompt_key

Kind = Literal["sides", "labels"]
#: The version of the studio's own JSON.
FORMAT = 1
_FIELDS: dict[Kind, tuple[str, str]] = {"sides": ("support", "oppose"), "labels": ("chosen", "rejected")}
_KNOWN = {"id", "prompt", "history"}
#: How many complaints one message holds; a person mends these and sees the next.
_COMPLAINTS = 3


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


def parse_rows(rows: Sequence[RawRow], name: str, skip_broken: bool = False) -> Parsed:
    """Training pairs from rows of one kind.

    Raises:
        DatasetError: no rows, or a row breaks the format; the message starts with ``name``.
    """
    if not rows:
        raise DatasetError(f"{name} holds no rows.")
    kind = _kind(rows, name)
    reader = _Reader(kind, _FIELDS[kind])
    pairs = reader.read(rows, name, skip_broken)
    return Parsed(kind, pairs, warnings=tuple(f"{name}: {warning}" for warning in reader.warnings()))


def parse_own(document: dict[str, Any], name: str) -> Parsed:
    """The studio's own JSON: ``{"format": 1, "kind", "title", "language", "source", "pairs", "heldout", "test_prompts"}``,
    and ``"prompts"`` where it is prompts without answers.

    Raises:
        DatasetError: it is not that, a row breaks the format, or a prompt stands in both parts.
    """
    if "pairs" not in document:
        raise DatasetError(
            f"{name} holds one object; it must be a list of rows with prompt, support, oppose or prompt, chosen, rejected."
        )
    if isinstance(document, TwiceNamed):
        raise DatasetError(f"{name}: {document.twice} is given twice.")
    if document.get("format", FORMAT) != FORMAT:
        raise DatasetError(f"{name}: format is {document['format']!r}; this version reads {FORMAT}.")
    kind = document.get("kind", "sides")
    if kind not in ("sides", "labels"):
        raise DatasetError(f"{name}: kind is {kind!r}; it must be sides or labels.")
    parts: list[tuple[PreferencePair, ...]] = []
    warnings: list[str] = []
    # What is kept has been taken apart already; a model's answer may well begin with "Assistant:".
    reader = _Reader(kind, _FIELDS["sides"], plain=True)
    for part in ("pairs", "heldout"):
        rows = document.get(part, [])
        if not isinstance(rows, list):
            raise DatasetError(f"{name}: {part} is {kind_of(rows)}; it must be a list.")
        parts.append(reader.read([RawRow(f"{part} row {n}", row) for n, row in enumerate(rows, 1)], name, False))
    asked: list[tuple[str, ...]] = []
    for part in ("prompts", "test_prompts"):
        texts = document.get(part, [])
        if not isinstance(texts, list):
            raise DatasetError(f"{name}: {part} is {kind_of(texts)}; it must be a list.")
        asked.append(tuple(checked_text(text, f"{name}: {part} row {n}") for n, text in enumerate(texts, 1)))
    if not parts[0] and not asked[0]:
        raise DatasetError(f"{name}: pairs is empty.")
    said = {field: document.get(field, "") for field in ("title", "language", "source")}
    for field, value in said.items():
        if not isinstance(value, str):
            raise DatasetError(f"{name}: {field} is {kind_of(value)}; it must be text.")
    check_split(parts[0], parts[1], name)
    warnings += [f"{name}: {warning}" for warning in reader.warnings()]
    return Parsed(kind, parts[0], parts[1], asked[1], tuple(warnings), **said, prompts=asked[0])


def check_split(pairs: Iterable[PreferencePair], heldout: Iterable[PreferencePair], name: str) -> None:
    """Refuse a prompt that stands in both parts: a held-out figure would be measured on what was trained.

    Raises:
        DatasetError: names the first such two rows.
    """
    seen = {prompt_key(pair): row for row, pair in reversed(list(enumerate(pairs, 1)))}
    for row, pair in enumerate(heldout, 1):
        if prompt_key(pair) in seen:
            raise DatasetError(
                f"{name}: heldout row {row}: prompt is also that of pairs row {seen[prompt_key(pair)]} ({pair.prompt[:60]!r}); "
                "a held-out prompt must not be trained on."
            )


def keep_aside(
    pairs: Sequence[PreferencePair], fraction: float, seed: int
) -> tuple[tuple[PreferencePair, ...], tuple[PreferencePair, ...]]:
    """Split into (training, held-out) by normalised prompt, so that no prompt falls on both sides; order is kept.

    Args:
        fraction: share of the distinct prompts to hold out, 0 to below 1; above 0 at least one is held out and at least
            one is left.
        seed: which ones.

    Raises:
        DatasetError: the fraction is out of range, or there is only one distinct prompt.
    """
    if isinstance(fraction, bool) or not math.isfinite(fraction) or not 0 <= fraction < 1:
        raise DatasetError(f"heldout_fraction is {fraction}; it must be at least 0 and below 1.")
    if fraction == 0:
        return tuple(pairs), ()
    asked = [prompt_key(pair) for pair in pairs]
    keys = list(dict.fromkeys(asked))
    if len(keys) < 2:
        raise DatasetError("All rows have the same prompt; nothing can be held out.")
    count = min(max(1, round(fraction * len(keys))), len(keys) - 1)
    aside = set(random.Random(seed).sample(keys, count))
    train = tuple(pair for pair, key in zip(pairs, asked, strict=True) if key not in aside)
    return train, tuple(pair for pair, key in zip(pairs, asked, strict=True) if key in aside)


def plain(pair: PreferencePair) -> dict[str, Any]:
    """A pair as our own JSON has it."""
    # by hand: asdict() copies deeply, and took a third of the time of a large import
    made: dict[str, Any] = {"id": pair.id, "prompt": pair.prompt, "support": pair.support, "oppose": pair.oppose}
    if pair.history:
        made["history"] = [{"role": turn.role, "content": turn.content} for turn in pair.history]
    return made


def content_hash(
    pairs: Sequence[PreferencePair],
    heldout: Sequence[PreferencePair],
    test_prompts: Sequence[str],
    prompts: Sequence[str] = (),
) -> str:
    """sha256 (hex) of the canonical JSON of what a dataset holds; its names do not count."""
    content: dict[str, Any] = {
        "pairs": list(map(plain, pairs)),
        "heldout": list(map(plain, heldout)),
        "test_prompts": list(test_prompts),
        **({"prompts": list(prompts)} if prompts else {}),
    }
    return hashlib.sha256(
        json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def _kind(rows: Sequence[RawRow], name: str) -> Kind:
    """Sides or labels: by the fields of the first row that has any of them."""
    for row in rows:
        keys = set(row.value) if isinstance(row.value, dict) else set()
        for kind, fields in _FIELDS.items():
            if keys & set(fields):
                return kind
    first = rows[0]
    if not isinstance(first.value, dict):
        raise DatasetError(f"{name}, {first.where} is {kind_of(first.value)}; it must be an object with named fields.")
    raise DatasetError(
        f"{name}, {first.where}: support and oppose (or chosen and rejected) are missing; "
        f"it has {listed(first.value) or 'no fields'}."
    )


class _Reader:
    """Reads rows of one kind and remembers what is worth a warning."""

    def __init__(self, kind: Kind, fields: tuple[str, str], plain: bool = False) -> None:
        self._kind, self._fields, self._plain = kind, fields, plain
        self._ids: set[str] = set()
        self._copies: collections.Counter[str] = collections.Counter()
        self._seen: collections.Counter[PreferencePair] = collections.Counter()
        self._ignored: set[str] = set()
        self._notes: dict[str, list[str]] = {}
        self._skipped: list[str] = []
        self._same: list[str] = []

    def read(self, rows: Sequence[RawRow], name: str, skip_broken: bool) -> tuple[PreferencePair, ...]:
        pairs: list[PreferencePair] = []
        broken: list[str] = []
        same: list[str] = []
        for number, row in enumerate(rows, 1):
            try:
                pairs.append(self._pair(row, number))
            except SameAnswersError as error:
                # Labelled data of the wild has such rows; they prefer nothing, so that nothing is lost with them.
                (same if self._kind == "labels" else broken).append(str(error))
            except DatasetError as error:
                broken.append(str(error))
        if same and not (pairs or broken):
            broken, same = same, []
        if broken and not (skip_broken and pairs):
            more = len(broken) - _COMPLAINTS
            tail = f" (and {more} more row{'s' * (more > 1)} with faults)" if more > 0 else ""
            raise DatasetError(f"{name}, " + " ".join(broken[:_COMPLAINTS]) + tail)
        self._skipped += broken
        self._same += same
        return tuple(pairs)

    def warnings(self) -> list[str]:
        made = []
        if self._skipped:
            made.append(f"{len(self._skipped)} broken rows left out: {' '.join(self._skipped[:_COMPLAINTS])}")
        if self._same:
            made.append(
                f"{len(self._same)} rows prefer nothing and were left out: {' '.join(self._same[:_COMPLAINTS])}"
            )
        made += [f"{text} ({rows_named(where)})." for text, where in self._notes.items()]
        if self._ignored:
            made.append(f"fields not used: {listed(sorted(self._ignored))}.")
        twice = sum(count - 1 for count in self._seen.values())
        if twice:
            made.append(f"{twice} rows repeat an earlier one word for word; they are kept.")
        return made

    def _pair(self, row: RawRow, number: int) -> PreferencePair:
        value, where = row.value, row.where
        if not isinstance(value, dict):
            raise DatasetError(f"{where} is {kind_of(value)}; it must be an object with named fields.")
        if isinstance(value, TwiceNamed):
            raise DatasetError(f"{where}: {value.twice} is given twice.")
        if self._kind == "sides" and value.get("prompt") is None:
            raise DatasetError(f"{where}: prompt is missing.")
        if value.get("history"):
            value = self._with_history(value, where)
        split = split_row(value, *self._fields, where, self._plain)
        if split.first == split.second:
            raise SameAnswersError(f"{where}: {self._fields[0]} and {self._fields[1]} are the same.")
        for text in split_notes(split):
            self._note(text, where)
        # None-valued strangers are what a table makes of rows that lack a column
        self._ignored |= {key for key, held in value.items() if held is not None} - _KNOWN - set(self._fields)
        pair = PreferencePair("", split.prompt, split.first, split.second, split.history)
        self._seen[pair] += 1
        return dataclasses.replace(pair, id=self._id(value.get("id"), number, where))

    def _with_history(self, value: dict[str, Any], where: str) -> dict[str, Any]:
        """Our own rows keep earlier turns beside the prompt; joined, they are a conversational prompt."""
        if not isinstance(value["history"], list):
            raise DatasetError(f"{where}: history is {kind_of(value['history'])}; it must be a list of turns.")
        asked = {"role": "user", "content": checked_text(value.get("prompt"), f"{where}: prompt")}
        return {**value, "prompt": [*value["history"], asked]}

    def _id(self, given: Any, number: int, where: str) -> str:
        if isinstance(given, bool) or not isinstance(given, str | int | None):
            raise DatasetError(f"{where}: id is {kind_of(given)}; it must be text or a whole number.")
        wanted = str(number) if given is None or not str(given).strip() else str(given).strip()
        checked_text(wanted, f"{where}: id")
        made = wanted
        while made in self._ids:
            self._copies[wanted] += 1
            made = f"{wanted}-{self._copies[wanted] + 1}"
        if made != wanted:
            self._note("the id occurs before; a number was added to it", where)
        self._ids.add(made)
        return made

    def _note(self, text: str, where: str) -> None:
        self._notes.setdefault(text, []).append(where)


def split_notes(split: Split) -> list[str]:
    """What taking a row apart did to it, for a warning that lists the rows."""
    said = (
        (split.longer, "the conversation goes on after the first answer that differs; only that answer is used"),
        (
            split.continued,
            "the transcripts part elsewhere than at an answer; all after their last common question is used",
        ),
        (split.tidied, "empty turns are left out, turns in a row of one speaker joined"),
        (not (split.first and split.second), "one of the answers is empty; it is kept as that"),
        (split.implied, "no prompt given: taken from the beginning both answers share"),
    )
    return [text for holds, text in said if holds]


def rows_named(where: Sequence[str]) -> str:
    """Rows of a file in a sentence: the first few, and how many more."""
    shown = ", ".join(where[:_COMPLAINTS])
    return shown if len(where) <= _COMPLAINTS else f"{shown} and {len(where) - _COMPLAINTS} more"


def listed(names: Iterable[str]) -> str:
    """Names from a file, bounded: a file may have thousands, or a sentence for one."""
    shown = [" ".join(name.split())[:40] for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
