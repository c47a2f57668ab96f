"""Votes into the studio: an export of this or another studio, records of Argilla, Label Studio or an arena, from a folder, a zip
or a file.

What is read becomes :class:`studio.domain.votes.Ballots` first, checked whole; ``restore`` then brings it into the store.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.domain.votes import AnswerPair, Ballots, Rater, RatingRules, Vote
from studio.errors import DatasetError, InputError, NotFoundError
from studio.services.data.annotated.read import read_annotated
from studio.services.data.annotated.records import ReadRecords
from studio.services.data.formats import RawRow, TwiceNamed, read_document
from studio.services.data.shapes.table import listed_fields, recognise
from studio.services.files.records import parse
from studio.services.files.unpacking import unpack_known
from studio.services.rating.pair_id import given_pair
from studio.services.votes.argilla_export import DATASET, RECORDS, SETTINGS
from studio.services.votes.export import FORMAT, MARK, read_mark
from studio.services.votes.rows import JUDGE

#: Seconds of a vote nobody timed; ``statistics`` counts it as untimed.
UNTIMED = -1.0
_LARGEST = 2**63
_KNOWN = frozenset(
    {MARK, RECORDS, SETTINGS, DATASET}
    | {f"{config}/train.{kind}" for config in ("votes", "pairs") for kind in ("jsonl", "parquet")}
)


@dataclass(frozen=True)
class ImportedVotes:
    """What a file or folder holds, checked. ``kind`` is a word for a person; ``warnings`` tell what was left out."""

    kind: str
    ballots: Ballots
    warnings: tuple[str, ...] = ()


def read_votes(path: Path, max_bytes: int) -> ImportedVotes:
    """An export (folder or zip), an Argilla dataset (folder, zip or its ``records.json``), or a file of records.

    Raises:
        NotFoundError: there is nothing at ``path``.
        InputError: it is neither, too large, or broken; the message names file, row and field.
    """
    path = path.expanduser()
    if path.is_dir():
        return _read_folder(path, max_bytes)
    if not path.is_file():
        raise NotFoundError(f"There is no file or folder {path}.")
    if path.suffix.lower() != ".zip":
        return _from_records(read_records(path, None, max_bytes))
    with tempfile.TemporaryDirectory(prefix="studio-votes-") as scratch:
        unpack_known(path, Path(scratch), max_bytes, _KNOWN)
        return _read_folder(Path(scratch), max_bytes)


def _read_folder(folder: Path, max_bytes: int) -> ImportedVotes:
    mark = read_mark(folder)
    if mark is not None:
        return _from_export(folder, mark, max_bytes)
    if (folder / RECORDS).is_file():
        settings = folder / SETTINGS
        return _from_records(read_records(folder / RECORDS, settings if settings.is_file() else None, max_bytes))
    raise InputError(
        f"There is neither {MARK} (an export of votes) nor {RECORDS} (an Argilla dataset) in it, so nothing was imported."
    )


def _from_export(folder: Path, mark: Mapping[str, Any], max_bytes: int) -> ImportedVotes:
    if mark.get("format") != FORMAT:
        raise InputError(f"{MARK}: format is {str(mark.get('format'))[:20]!r}; this version reads {FORMAT}.")
    pairs = tuple(_read_pair(row) for row in _rows(folder, "pairs", max_bytes))
    known = {pair.id for pair in pairs}
    votes: list[Vote] = []
    raters: dict[str, Rater] = {}
    for row in _rows(folder, "votes", max_bytes):
        vote = _read_vote(row)
        if vote.pair_id not in known:
            raise DatasetError(f"{row.where}: question_id {vote.pair_id[:40]!r} is none of the pairs.")
        votes.append(vote)
        rater = Rater(vote.rater_id, str(row.value.get("judge_name") or vote.rater_id)[:80], created=vote.created)
        raters.setdefault(rater.id, rater)
    rules = parse(RatingRules, mark.get("rules"), f"{MARK}: rules")
    return ImportedVotes("an export of votes", Ballots(pairs, tuple(votes), tuple(raters.values()), rules))


def _rows(folder: Path, config: str, max_bytes: int) -> list[RawRow]:
    for kind in ("jsonl", "parquet"):
        path = folder / config / f"train.{kind}"
        if path.is_file() and path.stat().st_size:
            document = read_document(path, max_bytes)
            assert isinstance(document, list)  # only a .json file can hold anything else
            return [_checked(RawRow(f"{config}, {row.where}", row.value)) for row in document]
        if path.is_file():
            return []
    raise DatasetError(f"{config}/train.jsonl and {config}/train.parquet are both missing, so the export is not whole.")


def _checked(row: RawRow) -> RawRow:
    if not isinstance(row.value, dict) or isinstance(row.value, TwiceNamed):
        raise DatasetError(f"{row.where} is not an object with named fields, each once.")
    return row


def _read_pair(row: RawRow) -> AnswerPair:
    pair = parse(AnswerPair, row.value, row.where)
    for name, origin in (("origin_1", pair.origin_1), ("origin_2", pair.origin_2)):
        for field in ("ratio", "temperature", "top_p", "max_new_tokens", "seed"):
            value = getattr(origin, field)
            if value is not None and not -_LARGEST < value < _LARGEST:  # a NaN fails this too
                raise DatasetError(
                    f"{row.where}: {name}.{field} is {value}; it must be a number, and not beyond 63 bits."
                )
    check_number(pair.created, f"{row.where}: created")
    return pair


def _read_vote(row: RawRow) -> Vote:
    record = row.value
    judge = record.get("judge")
    if not isinstance(judge, str) or not JUDGE.fullmatch(judge):
        raise DatasetError(f"{row.where}: judge is {str(judge)[:40]!r}; exports of a studio say judge- and 16 digits.")
    seconds = record.get("seconds")
    data = {
        **record,
        "pair_id": record.get("question_id"),
        "rater_id": judge,
        "updated": record.get("tstamp"),
        "seconds": UNTIMED if seconds is None else seconds,
        "reasons": list(dict.fromkeys(filter(None, str(record.get("reasons") or "").split(", ")))),
    }
    vote = parse(Vote, data, row.where)
    for field in ("seconds", "created", "updated"):
        check_number(getattr(vote, field), f"{row.where}: {field}")
    if not 0 <= vote.changes < 2**31:
        raise DatasetError(f"{row.where}: changes is {vote.changes}; it must be a count.")
    return vote


def check_number(value: float, where: str) -> None:
    """Raises DatasetError where a number from a file is not finite."""
    if not math.isfinite(value):
        raise DatasetError(f"{where} is {value}; it must be a number.")


def read_records(path: Path, settings: Path | None, max_bytes: int) -> ReadRecords:
    """Pairs and votes of a file of annotated records; ``settings`` are those of an Argilla dataset, where there are some.

    Raises:
        NotFoundError: there is no such file.
        DatasetError: the records are of no known tool, or broken; the message names the record and the field.
    """
    document = read_document(path, max_bytes)
    if isinstance(document, dict):
        raise DatasetError(f"{path.name} holds one object; votes are read from a list of records.")
    described = read_document(settings, max_bytes, unfold=False) if settings else {}
    if not isinstance(described, dict):
        raise DatasetError(f"{SETTINGS} is a list; the settings of Argilla are one object.")
    if not document:
        raise DatasetError(f"{path.name} holds no records.")
    records = read_annotated(document, path.name, described)
    if records is None:
        raise DatasetError(f"{path.name}, {document[0].where}: {_no_votes(document)}")
    if records.unread and not records.votes:
        raise DatasetError(
            f"{path.name} was read as {records.tool}, and none of its {records.unread} judgements says which of two answers is "
            f"better ({' '.join(records.warnings)}); ask for a label or a ranking over the two, or import them as pairs to be rated."
        )
    return records


def _no_votes(rows: Sequence[RawRow]) -> str:
    """Why rows are no votes, and what to do with them."""
    found = recognise(rows)
    if found is not None:
        shape = found.name
        return (
            f"these are {shape}, which name no person's vote; import them as pairs to be rated (import-pairs, or Add pairs "
            "under Rate), or as training data (import)."
        )
    return (
        f"fields are missing; records of Argilla have them, Label Studio's have data and annotations, an arena's have winner and "
        f"two conversations. These have {listed_fields(rows)}."
    )


def _from_records(read: ReadRecords) -> ImportedVotes:
    """Answers *a* and *b* become 1 and 2; *a* stands first there, so it counts as the left one."""
    now = time.time()
    pairs = tuple(given_pair(pair, str(place), now) for place, pair in enumerate(read.pairs))
    votes = tuple(
        Vote(
            str(vote.pair),
            vote.user,
            vote.choice,
            1,
            UNTIMED if vote.seconds is None else vote.seconds,
            vote.created or vote.updated or now,
            vote.updated or now,
        )
        for vote in read.votes
    )
    raters = tuple(Rater(user, "", created=now) for user in dict.fromkeys(vote.user for vote in read.votes))
    none = () if votes else ("no votes were found in it, only pairs.",)
    return ImportedVotes(
        read.tool, Ballots(pairs, votes, raters, RatingRules(read.guidelines)), (*none, *read.warnings)
    )
