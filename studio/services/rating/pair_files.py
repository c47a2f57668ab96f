"""Comparison data into pairs to be rated: two answers to one prompt, whatever the file calls them.

The shapes are those of training data (``shapes.table``, records judged elsewhere, the studio's own JSON), and besides
``instruction/(input)/response-1/response-2``, as the curated Dolly comparisons have them. Which answer a file prefers is kept with
the pair and never shown before a vote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from studio.domain.data import Kind, Message, PreferencePair
from studio.domain.votes import NewPair, Origin
from studio.errors import DatasetError, InputError
from studio.services.data.annotated.read import read_annotated
from studio.services.data.annotated.records import ReadRecords
from studio.services.data.conversations import SameAnswersError
from studio.services.data.formats import RawRow
from studio.services.data.preference_rows import parse_own
from studio.services.data.row_reader import AS_IT_IS, ReadOptions, RowReader, complaints, find_shape, rows_named
from studio.services.data.shapes.fields import Fields
from studio.services.data.shapes.table import EXPORTED, Shape
from studio.services.data.shapes.unpaired import are_unpaired, paired
from studio.services.files.records import parse
from studio.services.rating import pair_id as identity
from studio.services.texts import normalised

_MISSING = "there are no two answers in it (response-1 and response-2, chosen and rejected, or support and oppose)"
_LABEL = 120


@dataclass(frozen=True)
class Comparisons:
    """What a file holds, checked. ``rows`` = pairs + ``identical`` + skipped; ``skipped`` says why, one sentence a row;
    ``warnings`` say what was done to rows that are used, and which rows have identical answers; ``shape`` what they were read as."""

    rows: int
    pairs: tuple[NewPair, ...]
    identical: int
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]
    shape: str = ""


def read_comparisons(
    document: Sequence[RawRow] | dict[str, Any], name: str, options: ReadOptions = AS_IT_IS
) -> Comparisons:
    """Pairs from the rows of a file, or from the studio's own JSON object. ``name`` is what the answers are called by
    where the file does not say who gave them. Broken rows are left out, whatever ``options`` say.

    Raises:
        UnknownShapeError: no two answers are to be found in the rows.
        DatasetError: there are no rows, or every one of them is broken.
    """
    title = " ".join(Path(name).name.split(".")[0].split())[:_LABEL] or "import"
    if isinstance(document, dict):
        parsed = parse_own(document, name)
        made = [_of_dataset(pair, parsed.kind, title) for pair in (*parsed.pairs, *parsed.heldout)]
        return _comparisons(_numbered(made), name, parsed.warnings, parsed.shape)
    if not options.mapping:
        if records := read_annotated(document, name):
            return _comparisons(_numbered(_judged(records)), name, _record_warnings(records, name), records.tool)
        if are_unpaired(document):
            return _of_unpaired(document, name, title, options)
    shape = find_shape(document, name, options.mapping, _MISSING)
    return _of_rows(document, name, _ComparisonReader(shape, title, options.strip_templates))


def _of_rows(rows: Sequence[RawRow], name: str, reader: _ComparisonReader) -> Comparisons:
    made = [(row.where, partial(reader.pair, row)) for row in rows]
    kept, identical, skipped = _sorted_out(made)
    return _counted(len(made), kept, identical, skipped, name, reader.warnings(), reader.shape.name)


def _of_unpaired(rows: Sequence[RawRow], name: str, title: str, options: ReadOptions) -> Comparisons:
    made, broken, note = paired(rows, name)
    shape = replace(find_shape(made, name, {}, _MISSING), name="KTO rows, paired by prompt")
    done = _of_rows(made, name, _ComparisonReader(shape, title, options.strip_templates))
    warnings = (*([f"{name}: {note}"] if note else []), *done.warnings)
    return replace(done, rows=done.rows + len(broken), skipped=(*broken, *done.skipped), warnings=warnings)


def _judged(records: ReadRecords) -> list[NewPair]:
    """The pairs, labelled by what most of their votes say."""
    return [replace(pair, preferred=side) for pair, side in zip(records.pairs, records.preferences(), strict=True)]


def _record_warnings(records: ReadRecords, name: str) -> list[str]:
    votes = f"{len(records.votes)} votes in it were not imported: use import-votes, or the import under Votes."
    return [f"{name}: {warning}" for warning in (*([votes] if records.votes else []), *records.warnings)]


def _numbered(pairs: Iterable[NewPair]) -> list[tuple[str, Callable[[], NewPair]]]:
    return [(f"row {number}", partial(_known, pair)) for number, pair in enumerate(pairs, 1)]


def _comparisons(
    rows: Sequence[tuple[str, Callable[[], NewPair]]], name: str, warnings: Sequence[str], shape: str
) -> Comparisons:
    kept, identical, skipped = _sorted_out(rows)
    done = _counted(len(rows), kept, identical, skipped, name, (), shape)
    return replace(done, warnings=(*done.warnings, *warnings))


def _counted(
    rows: int,
    kept: Sequence[NewPair],
    identical: Sequence[str],
    skipped: Sequence[str],
    name: str,
    warnings: Sequence[str],
    shape: str,
) -> Comparisons:
    """What became of the rows. Raises DatasetError where none of them can be used."""
    if not kept and skipped:
        raise DatasetError(f"{name} has no row that can be used: {complaints(skipped)}")
    lines = [f"{name}: {warning}" for warning in warnings]
    if identical:
        lines.insert(0, f"{name}: both answers are the same, so there is nothing to compare ({rows_named(identical)}).")
    return Comparisons(rows, tuple(kept), len(identical), tuple(skipped), tuple(lines), shape)


def _known(pair: NewPair) -> NewPair:
    return pair


def _sorted_out(
    rows: Iterable[tuple[str, Callable[[], NewPair]]],
) -> tuple[list[NewPair], list[str], list[str]]:
    """The pairs that can be rated, where those with identical answers stand, and why others cannot be used; each in the
    order of the file. A row is where it stands and what reads it."""
    kept: list[NewPair] = []
    identical, skipped = [], []
    for where, read in rows:
        try:
            pair = read()
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


class _ComparisonReader(RowReader):
    """Reads rows of one shape into pairs."""

    def __init__(self, shape: Shape, title: str, strip: bool) -> None:
        super().__init__(shape, strip=strip)
        self._title = title

    def pair(self, row: RawRow) -> NewPair:
        """Raises InputError, naming row and field; SameAnswersError where both answers are the same."""
        split, labelled, names, fields = self.split(row)
        for name, answer in zip(names, (split.first, split.second), strict=True):
            if not normalised(answer):
                raise DatasetError(f"{row.where}: {name} holds no answer, so there is nothing to compare.")
            identity.check_text(f"{row.where}: {name}", answer)
        system, history = _system(split.history)
        labels = self.shape.kind == "labels" and labelled
        return NewPair(
            prompt=split.prompt,
            answer_a=split.first,
            answer_b=split.second,
            origin_a=self._origin(fields, names[0], row.where, labels),
            origin_b=self._origin(fields, names[1], row.where, labels),
            source="import",
            history=history,
            system_prompt=system,
            preferred="a" if labels else "",
        )

    def _origin(self, fields: Fields, answer: str, where: str, labelled: bool) -> Origin:
        """Who gave an answer: as the studio's export says, else the model that the file names beside it."""
        end = answer[-1:].lower()
        if self.shape.name == EXPORTED.name and (origin := fields.get(f"origin_{end}")) is not None:
            return parse(Origin, origin, f"{where}: origin_{end}")
        model = fields.get(f"model_{end}") if end in "12ab" else None
        if isinstance(model, str) and model.strip():
            return Origin("import", " ".join(model.split())[:_LABEL])
        return Origin("import", _label(labelled, answer, self._title))


def _label(labelled: bool, field: str, title: str) -> str:
    """Both answers of a labelled row are called the same: a name that says which was chosen would give the label away."""
    return title if labelled else f"{title}: {field}"


def _system(history: tuple[Message, ...]) -> tuple[str, tuple[Message, ...]]:
    """System prompt and turns; a system turn at the beginning is the system prompt."""
    if history and history[0].role == "system":
        return history[0].content, history[1:]
    return "", history


def _of_dataset(pair: PreferencePair, kind: Kind, title: str) -> NewPair:
    system, history = _system(pair.history)
    first, second = (Origin("import", _label(kind == "labels", field, title)) for field in ("support", "oppose"))
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
