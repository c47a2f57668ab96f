"""Files and raw rows into preference pairs: which shape it is, every row checked, every complaint with its row and field.

Known are the shapes of ``shapes.table``, records judged in other tools (``annotated``), single answers with a thumb (``shapes.unpaired``), and
the studio's own JSON object with ``pairs`` and ``heldout``, in which datasets are shipped and kept. Dialogues to summarise become
prompts without answers.
"""

from __future__ import annotations

import array
import collections
import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from studio.domain.data import Kind, Message, Pairs, PreferencePair, RatedAnswer
from studio.errors import DatasetError
from studio.services.data.annotated.read import read_annotated, tool_of
from studio.services.data.annotated.records import ReadRecords
from studio.services.data.conversations import SameAnswersError
from studio.services.data.dialogues import holds_dialogues, parse_dialogues
from studio.services.data.formats import (
    HEAD,
    MAX_ROWS,
    RawRow,
    TwiceNamed,
    checked_text,
    kind_of,
    read_id,
    read_rows,
)
from studio.services.data.kept.rows import gathered, picked
from studio.services.data.prompt_key import digest, prompt_digest
from studio.services.data.row_reader import (
    AS_IT_IS,
    Parsed,
    ReadOptions,
    RowReader,
    Told,
    as_parsed,
    broken_left_out,
    check_broken,
    complaints,
    find_shape,
)
from studio.services.data.shapes.table import OWN, Shape, field_names
from studio.services.data.shapes.unpaired import are_unpaired, rated
from studio.services.files.decoding.rows import UNLIMITED, Limits, held

#: The version of the studio's own JSON.
FORMAT = 1
R = TypeVar("R", PreferencePair, RatedAnswer)


#: Rows whose fields are named, to be mapped by hand.
_NAMED_OF = 100
_MISSING = "support and oppose (or chosen and rejected) are missing"
_PREFERS_NOTHING = "nothing in the row says which answer is preferred"


def parse_file(path: Path, max_bytes: int, options: ReadOptions = AS_IT_IS, max_rows: int = MAX_ROWS) -> Parsed:
    """The data of a file in any known format.

    Args:
        path: the file; its suffix tells the format.
        max_bytes: size limit, packed and unpacked; ``max_rows`` the limit of its rows.

    Raises:
        NotFoundError: there is no such file.
        UnknownShapeError: its rows are of no known shape.
        DatasetError: the file or a row breaks its format; the message names row and field.
    """
    content = read_rows(path, max_bytes, max_rows)
    if isinstance(content, dict):
        return parse_own(content, path.name)
    return parse_rows(content, path.name, options, Limits(max_bytes, max_rows))


def parse_rows(
    rows: Iterable[RawRow], name: str, options: ReadOptions = AS_IT_IS, limits: Limits = UNLIMITED
) -> Parsed:
    """Pairs, answers with a thumb, or prompts of dialogues, from rows of one kind, each read once. All at once are held only records of
    other tools, which one votes on in several rows, and rows of which the first :data:`HEAD` do not show what they are; ``limits`` are
    theirs.

    Raises:
        UnknownShapeError: no row is of a known shape.
        DatasetError: no rows, or a row breaks the format; the message starts with ``name``.
    """
    rows = iter(rows)
    first = list(itertools.islice(rows, HEAD))
    made = _of_rows(first, itertools.chain(first, rows), name, options, limits)
    return replace(made, fields=tuple(field_names(first[:_NAMED_OF])))


def _of_rows(
    first: Sequence[RawRow], rows: Iterable[RawRow], name: str, options: ReadOptions, limits: Limits
) -> Parsed:
    if not options.mapping:
        if holds_dialogues(first):
            return parse_dialogues(rows, name, options.skip_broken)
        if are_unpaired(first):
            return _of_rated(rows, name, options)
        if first and tool_of(first[0].value) and (records := read_annotated(held(rows, name, limits), name)):
            return _of_records(records, name)
    try:
        shape = find_shape(first, name, options.mapping, _MISSING)
    except DatasetError:
        if len(first) < HEAD:
            raise
        rows = every = held(rows, name, limits)
        shape = find_shape(every, name, options.mapping, _MISSING)
    reader = _PairReader(shape, strip=options.strip_templates)
    pairs = reader.read(rows, name, options.skip_broken)
    return as_parsed(name, shape.kind, shape.name, reader.warnings(), reader.left_out(), reader.broken, pairs=pairs)


def _of_rated(rows: Iterable[RawRow], name: str, options: ReadOptions) -> Parsed:
    broken = Told()
    answers = gathered(rated(rows, options.strip_templates, broken.add))
    check_broken(broken, bool(answers), options.skip_broken, name)
    notes = broken_left_out(broken)
    return as_parsed(name, "rated", "answers with a thumb (KTO)", notes, notes, broken, rated=answers)


def _of_records(records: ReadRecords, name: str) -> Parsed:
    """The pairs of which most votes prefer one answer."""
    pairs = []
    chosen = list(zip(records.pairs, records.preferences(), strict=True))
    for number, (pair, preferred) in enumerate(chosen, 1):
        if preferred and pair.answer_a != pair.answer_b:
            answers = (pair.answer_a, pair.answer_b) if preferred == "a" else (pair.answer_b, pair.answer_a)
            system = (Message("system", pair.system_prompt),) if pair.system_prompt else ()
            pairs.append(PreferencePair(str(number), pair.prompt, *answers, (*system, *pair.history)))
    if not pairs:
        raise DatasetError(
            f"{name} was read as {records.tool}, and in none of its {len(chosen)} pairs do most votes prefer one answer, so there "
            "is nothing to train on; import it under Rate to have the pairs judged."
        )
    lost = len(chosen) - len(pairs)
    notes = (f"{lost} of {len(chosen)} pairs have no answer that most votes prefer and were left out.",) if lost else ()
    warnings = (*notes, *records.warnings)
    return Parsed(
        "labels", tuple(pairs), warnings=tuple(f"{name}: {w}" for w in warnings), shape=records.tool, notes=notes
    )


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
    if kind not in get_args(Kind):
        raise DatasetError(f"{name}: kind is {kind!r}; it must be {', '.join(get_args(Kind))}.")
    parts: list[Pairs] = []
    reader = _PairReader(replace(OWN, kind=kind))
    for part in ("pairs", "heldout"):
        parts.append(reader.read(_part(document, part, name), name, False))
    broken = Told()
    answers = tuple(rated(_part(document, "rated", name), False, broken.add))
    check_broken(broken, False, False, name)
    prompts: list[tuple[str, ...]] = []
    for part in ("prompts", "test_prompts"):
        texts = document.get(part, [])
        if not isinstance(texts, list):
            raise DatasetError(f"{name}: {part} is {kind_of(texts)}; it must be a list.")
        prompts.append(tuple(checked_text(text, f"{name}: {part} row {n}") for n, text in enumerate(texts, 1)))
    if not parts[0] and not prompts[0] and not answers:
        raise DatasetError(f"{name}: pairs is empty.")
    notes = document.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise DatasetError(f"{name}: notes is {kind_of(notes)}; it must be a list of texts.")
    names = {field: document.get(field, "") for field in ("title", "language", "source")}
    for field, value in names.items():
        if not isinstance(value, str):
            raise DatasetError(f"{name}: {field} is {kind_of(value)}; it must be text.")
    check_split((*parts[0], *answers), parts[1], name)
    warnings = tuple(f"{name}: {warning}" for warning in reader.warnings())
    given: dict[str, Any] = {**names, "prompts": prompts[0], "rated": answers}
    return Parsed(kind, parts[0], parts[1], prompts[1], warnings, shape=OWN.name, notes=tuple(notes), **given)


def _part(document: dict[str, Any], part: str, name: str) -> list[RawRow]:
    rows = document.get(part, [])
    if not isinstance(rows, list):
        raise DatasetError(f"{name}: {part} is {kind_of(rows)}; it must be a list.")
    return [RawRow(f"{part} row {n}", row) for n, row in enumerate(rows, 1)]


def check_split(pairs: Iterable[PreferencePair | RatedAnswer], heldout: Iterable[PreferencePair], name: str) -> None:
    """Refuse a prompt that stands in both parts: a held-out figure would be measured on what was trained.

    Raises:
        DatasetError: names the first such two rows.
    """
    held: dict[int, int] = {}
    for row, pair in enumerate(heldout, 1):
        held.setdefault(prompt_digest(pair), row)
    if not held:
        return
    both = ((held.get(prompt_digest(pair), 0), row, pair.prompt) for row, pair in enumerate(pairs, 1))
    if first := min((one for one in both if one[0]), default=None):
        row, seen, prompt = first
        raise DatasetError(
            f"{name}: heldout row {row}: prompt is also that of pairs row {seen} ({prompt[:60]!r}); "
            "a held-out prompt must not be trained on."
        )


def keep_aside(pairs: Sequence[R], fraction: float, seed: int) -> tuple[Sequence[R], Sequence[R]]:
    """Split into (training, held-out) by normalised prompt, so that no prompt falls on both sides; order is kept. Pairs that are read
    from a file stay there.

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
        return pairs, ()
    keys_of = array.array("Q", map(prompt_digest, pairs))
    keys = list(dict.fromkeys(keys_of))
    if len(keys) < 2:
        raise DatasetError("All rows have the same prompt; nothing can be held out.")
    count = min(max(1, round(fraction * len(keys))), len(keys) - 1)
    aside = set(random.Random(seed).sample(keys, count))
    parts: tuple[array.array[int], array.array[int]] = array.array("Q"), array.array("Q")
    for place, key in enumerate(keys_of):
        parts[key in aside].append(place)
    train, held = (picked(pairs, places) for places in parts)
    return train, held


def plain(pair: PreferencePair | RatedAnswer) -> dict[str, Any]:
    """A row as our own JSON has it."""
    # by hand: asdict() copies deeply, and took a third of the time of a large import
    made: dict[str, Any] = {"id": pair.id, "prompt": pair.prompt}
    if isinstance(pair, RatedAnswer):
        made |= {"completion": pair.completion, "label": pair.liked}
    else:
        made |= {"support": pair.support, "oppose": pair.oppose}
    if pair.history:
        made["history"] = [{"role": turn.role, "content": turn.content} for turn in pair.history]
    return made


def content_hash(
    pairs: Iterable[PreferencePair],
    heldout: Iterable[PreferencePair],
    test_prompts: Sequence[str],
    prompts: Iterable[str] = (),
    answers: Iterable[RatedAnswer] = (),
) -> str:
    """sha256 (hex) of the canonical JSON of what a dataset holds; its names do not count, nor the pairs that rated ``answers`` make.
    ``heldout`` is read before ``pairs``, each once."""
    content: dict[str, Iterable[Any]] = {
        "heldout": map(plain, heldout),
        **({} if answers else {"pairs": map(plain, pairs)}),
        **({"prompts": prompts} if prompts else {}),
        **({"rated": map(plain, answers)} if answers else {}),
        "test_prompts": test_prompts,
    }
    total, canonical = (
        hashlib.sha256(),
        json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode,
    )
    for number, (name, rows) in enumerate(content.items()):  # the names are in their order
        total.update(f'{"," if number else "{"}"{name}":['.encode())
        for place, row in enumerate(rows):
            total.update(("," * (place > 0) + canonical(row)).encode())
        total.update(b"]")
    total.update(b"}")
    return total.hexdigest()


class _NoPreferenceError(SameAnswersError):
    """A row with two answers of which it prefers none."""


class _PairReader(RowReader):
    """Reads training pairs of one shape. ``broken`` says why rows were left out, one sentence each. What was seen is known by digests:
    of a million pairs eight bytes each."""

    def __init__(self, shape: Shape, strip: bool = False) -> None:
        super().__init__(shape, strip=strip, keeps_empty=True)
        self.broken = Told()
        self._ids: set[int] = set()
        self._copies: collections.Counter[str] = collections.Counter()
        self._seen: set[int] = set()
        self._repeated = 0
        self._same = Told()

    def read(self, rows: Iterable[RawRow], name: str, skip_broken: bool) -> Pairs:
        """The pairs of the rows.

        Raises:
            DatasetError: a row is broken and those are not to be skipped, or none can be used.
        """
        broken, same = Told(), Told()
        pairs = gathered(self._each(rows, broken, same))
        if same and not (pairs or broken):
            if all(_PREFERS_NOTHING in sentence for sentence in same.first):
                shape = self.shape.name
                raise DatasetError(
                    f"{name} was read as {shape}, and nothing says which answer is preferred; map it by hand (--map "
                    "chosen=… --map rejected=…, or the menus on the page), or import it under Rate to have the pairs judged."
                )
            broken, same = same, Told()
        check_broken(broken, bool(pairs), skip_broken, name)
        self.broken.join(broken)
        self._same.join(same)
        return pairs

    def _each(self, rows: Iterable[RawRow], broken: Told, same: Told) -> Iterator[PreferencePair]:
        for number, row in enumerate(rows, 1):
            try:
                pair = self._pair(row, number)
            except SameAnswersError as error:
                # Labelled data of the wild has such rows; they prefer nothing, so that nothing is lost with them.
                (same if self.shape.kind == "labels" else broken).add(str(error))
            except DatasetError as error:
                broken.add(str(error))
            else:
                yield pair

    def left_out(self) -> list[str]:
        """How many rows were left out, and why."""
        made = broken_left_out(self.broken)
        if self._same:
            made.append(f"{len(self._same)} rows prefer nothing and were left out: {complaints(self._same)}")
        return made

    def warnings(self) -> list[str]:
        made = [*self.left_out(), *super().warnings()]
        if self._repeated:
            made.append(f"{self._repeated} rows repeat an earlier one word for word; they are kept.")
        return made

    def _pair(self, row: RawRow, number: int) -> PreferencePair:
        split, labelled, names, fields = self.split(row)
        if split.first == split.second:
            raise SameAnswersError(f"{row.where}: {' and '.join(names)} are the same.")
        if not labelled:
            raise _NoPreferenceError(f"{row.where}: {_PREFERS_NOTHING}.")
        turns = (text for turn in split.history for text in (turn.role, turn.content))
        texts = digest(split.prompt, split.first, split.second, *turns)
        self._repeated += texts in self._seen
        self._seen.add(texts)
        given = self._id(fields.get("id"), number, row.where)
        return PreferencePair(given, split.prompt, split.first, split.second, split.history)

    def _id(self, given: Any, number: int, where: str) -> str:
        own = read_id(given, f"{where}: id") or str(number)
        made = own
        while digest(made) in self._ids:
            self._copies[own] += 1
            made = f"{own}-{self._copies[own] + 1}"
        if made != own:
            self.note("the id occurs before; a number was added to it", where)
        self._ids.add(digest(made))
        return made
