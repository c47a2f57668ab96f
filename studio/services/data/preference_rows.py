"""Files and raw rows into preference pairs: which format it is, every row checked, every complaint with its row and field.

Three formats are known: *sides* (``id, prompt, support, oppose``: the course's), *labels* (TRL's ``prompt, chosen,
rejected``, prompt given or implied, plain or conversational, and HH transcripts), and the studio's own JSON object with
``pairs`` and ``heldout``, in which datasets are shipped and kept. Dialogues to summarise become prompts without answers.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from studio.domain.data import PreferencePair
from studio.errors import DatasetError
from studio.services.data.conversations import SameAnswersError
from studio.services.data.dialogues import holds_dialogues, parse_dialogues
from studio.services.data.formats import RawRow, TwiceNamed, checked_text, kind_of, read_document, read_id
from studio.services.data.prompt_key import prompt_key
from studio.services.data.row_reader import ANSWERS, Kind, Parsed, RowReader, complaints, find_shape

#: The version of the studio's own JSON.
FORMAT = 1


def parse_file(path: Path, max_bytes: int, skip_broken: bool = False) -> Parsed:
    """The data of a file in any known format.

    Args:
        path: the file; its suffix tells the format.
        max_bytes: size limit, packed and unpacked.
        skip_broken: leave out rows that break the format, with a warning that counts and names them, instead of refusing
            the file.

    Raises:
        NotFoundError: there is no such file.
        DatasetError: the file or a row breaks its format; the message names row and field.
    """
    document = read_document(path, max_bytes)
    if isinstance(document, dict):
        return parse_own(document, path.name)
    return parse_rows(document, path.name, skip_broken)


def parse_rows(rows: Sequence[RawRow], name: str, skip_broken: bool = False) -> Parsed:
    """Pairs, or prompts of dialogues, from rows of one kind.

    Raises:
        DatasetError: no rows, or a row breaks the format; the message starts with ``name``.
    """
    if holds_dialogues(rows):
        return parse_dialogues(rows, name, skip_broken)
    missing = "support and oppose (or chosen and rejected) are missing"
    kind: Kind = find_shape(rows, name, _kind, missing)
    reader = _PairReader(kind, ANSWERS[kind])
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
    # What is kept has been taken apart already; a model's answer may well begin with "Assistant:".
    reader = _PairReader(kind, ANSWERS["sides"], plain=True)
    for part in ("pairs", "heldout"):
        rows = document.get(part, [])
        if not isinstance(rows, list):
            raise DatasetError(f"{name}: {part} is {kind_of(rows)}; it must be a list.")
        parts.append(reader.read([RawRow(f"{part} row {n}", row) for n, row in enumerate(rows, 1)], name, False))
    prompts: list[tuple[str, ...]] = []
    for part in ("prompts", "test_prompts"):
        texts = document.get(part, [])
        if not isinstance(texts, list):
            raise DatasetError(f"{name}: {part} is {kind_of(texts)}; it must be a list.")
        prompts.append(tuple(checked_text(text, f"{name}: {part} row {n}") for n, text in enumerate(texts, 1)))
    if not parts[0] and not prompts[0]:
        raise DatasetError(f"{name}: pairs is empty.")
    names = {field: document.get(field, "") for field in ("title", "language", "source")}
    for field, value in names.items():
        if not isinstance(value, str):
            raise DatasetError(f"{name}: {field} is {kind_of(value)}; it must be text.")
    check_split(parts[0], parts[1], name)
    warnings = tuple(f"{name}: {warning}" for warning in reader.warnings())
    return Parsed(kind, parts[0], parts[1], prompts[1], warnings, **names, prompts=prompts[0])


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
    keys_of = [prompt_key(pair) for pair in pairs]
    keys = list(dict.fromkeys(keys_of))
    if len(keys) < 2:
        raise DatasetError("All rows have the same prompt; nothing can be held out.")
    count = min(max(1, round(fraction * len(keys))), len(keys) - 1)
    aside = set(random.Random(seed).sample(keys, count))
    train = tuple(pair for pair, key in zip(pairs, keys_of, strict=True) if key not in aside)
    return train, tuple(pair for pair, key in zip(pairs, keys_of, strict=True) if key in aside)


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


def _kind(row: dict[str, Any]) -> Kind | None:
    return next((kind for kind, fields in ANSWERS.items() if set(fields) & set(row)), None)


class _PairReader(RowReader):
    """Reads training pairs of one kind. ``plain``: of the studio's own JSON."""

    def __init__(self, kind: Kind, answers: tuple[str, str], plain: bool = False) -> None:
        super().__init__(answers, (), implied=kind == "labels", plain=plain, keeps_empty=True)
        self._kind = kind
        self._ids: set[str] = set()
        self._copies: collections.Counter[str] = collections.Counter()
        self._seen: collections.Counter[PreferencePair] = collections.Counter()
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
            raise DatasetError(f"{name}, {complaints(broken)}")
        self._skipped += broken
        self._same += same
        return tuple(pairs)

    def warnings(self) -> list[str]:
        made = []
        if self._skipped:
            made.append(f"{len(self._skipped)} broken rows left out: {complaints(self._skipped)}")
        if self._same:
            made.append(f"{len(self._same)} rows prefer nothing and were left out: {complaints(self._same)}")
        made += super().warnings()
        if repeated := sum(count - 1 for count in self._seen.values()):
            made.append(f"{repeated} rows repeat an earlier one word for word; they are kept.")
        return made

    def _pair(self, row: RawRow, number: int) -> PreferencePair:
        split = self.split(row)
        if split.first == split.second:
            raise SameAnswersError(f"{row.where}: {' and '.join(self._answers)} are the same.")
        pair = PreferencePair("", split.prompt, split.first, split.second, split.history)
        self._seen[pair] += 1
        return dataclasses.replace(pair, id=self._id(row.value.get("id"), number, row.where))

    def _id(self, given: Any, number: int, where: str) -> str:
        own = read_id(given, f"{where}: id") or str(number)
        made = own
        while made in self._ids:
            self._copies[own] += 1
            made = f"{own}-{self._copies[own] + 1}"
        if made != own:
            self.note("the id occurs before; a number was added to it", where)
        self._ids.add(made)
        return made
