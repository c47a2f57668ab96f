"""Votes out of the studio: a folder with the configs ``votes``, ``pairs`` and ``preference`` as JSONL and Parquet, a card
that says how far to trust them, and ``export.json``, by which an export is known again. Also as a zip, for Argilla, and to
the Hub."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from studio import __version__
from studio.domain.votes import Ballots, Decision, Origin
from studio.errors import ConflictError, DatasetError, InputError, NotFoundError
from studio.services.files.disk import needs_room
from studio.services.files.tables import BOM, csv_text, parquet_bytes
from studio.services.files.zips import pack
from studio.services.hub import HubApi, hub_client, push_folder
from studio.services.rating.rules import decide
from studio.services.votes.argilla_export import write_argilla
from studio.services.votes.dataset import LeftOut, left_out, preference_dataset
from studio.services.votes.dataset_card import CardFacts, dataset_card
from studio.services.votes.rows import (
    CSV_COLUMNS,
    PAIR_COLUMNS,
    PREFERENCE_COLUMNS,
    VOTE_COLUMNS,
    csv_rows,
    pair_rows,
    preference_rows,
    vote_rows,
    votes_hash,
)

log = logging.getLogger(__name__)

Format = Literal["jsonl", "parquet", "both"]
_WAY_OUT = "make room, then export again."
FORMATS: tuple[Format, ...] = ("jsonl", "parquet", "both")
#: By this file in it a folder is known as an export; ``format`` counts up when older programs could not read it.
MARK = "export.json"
FORMAT = 1
KIND = "alignment-studio votes"
_CONFIGS = {"votes": ("train",), "pairs": ("train",), "preference": ("train", "test")}
#: Everything an export may hold, as paths below its folder.
FILES = frozenset(
    {MARK, "README.md", "votes/votes.csv"}
    | {f"{config}/{split}.{kind}" for config, splits in _CONFIGS.items() for split in splits for kind in FORMATS[:2]}
)
_ORIGIN_TYPES = {"ratio": "float", "temperature": "float", "top_p": "float", "max_new_tokens": "int", "seed": "int"}


@dataclass(frozen=True)
class ExportOptions:
    """How to export. ``names`` adds the raters' names; ``licence`` is the Hub's id of one, for the card; ``whole`` keeps
    paths of this machine in origins, and takes a room without pairs too (for a backup, never for others)."""

    format: Format = "both"
    names: bool = False
    licence: str = ""
    whole: bool = False


@dataclass(frozen=True)
class Exported:
    """What an export holds. Counts are of rows; ``left_out`` of pairs without a preference."""

    votes: int
    pairs: int
    train: int
    test: int
    left_out: LeftOut

    def __str__(self) -> str:
        return (
            f"{self.votes} votes on {self.pairs} pairs; {self.train + self.test} preferences ({self.train} train, "
            f"{self.test} test); left out of them: {self.left_out}"
        )


def export_votes(ballots: Ballots, out: Path, options: ExportOptions | None = None) -> Exported:
    """Write an export to the folder ``out``, whole or not at all. One that is there already is replaced.

    Raises:
        InputError: an option is none.
        NotFoundError: there are no pairs, or no folder to write into.
        ConflictError: ``out`` holds something that is no export, or the disk is full; nothing there has been touched then.
    """
    out = out.expanduser().absolute()
    if not out.parent.is_dir():
        raise NotFoundError(f"There is no folder {out.parent} to write into.")
    check_target(out)
    with needs_room(_WAY_OUT), tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        made = Path(scratch) / "new"
        made.mkdir(mode=0o755)
        report = write_files(ballots, made, options)
        _swap(made, out, Path(scratch) / "old")
    return report


def check_target(out: Path) -> None:
    """Refuse a place whose contents are not ours to replace.

    Raises:
        ConflictError: it is a file, or a folder with anything but a former export in it.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConflictError(f"{out} exists and is not a folder; name another one.")
    if not out.exists() or not any(out.iterdir()):
        return
    foreign = sorted(
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_symlink() or (not path.is_dir() and path.relative_to(out).as_posix() not in FILES)
    )
    if read_mark(out) is None or foreign:
        example = f" ({foreign[0]})" if foreign else ""
        raise ConflictError(
            f"{out} holds other things than an export of votes{example}; name an empty folder or one that does not exist."
        )


def read_mark(folder: Path) -> dict[str, Any] | None:
    """What ``export.json`` says, or None where the folder is no export."""
    try:
        mark = json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) and mark.get("kind") == KIND else None


def write_files(ballots: Ballots, folder: Path, options: ExportOptions | None = None) -> Exported:
    """Write an export's files into the empty folder ``folder``.

    Raises:
        InputError, NotFoundError: as :func:`export_votes`.
        OSError: the disk is full.
    """
    options = options or ExportOptions()
    if options.format not in FORMATS:
        raise InputError(f"format is {options.format!r}; use {', '.join(FORMATS)}.")
    if not ballots.pairs and not options.whole:
        raise NotFoundError("There are no pairs of answers yet, so there is nothing to export.")
    decisions = decide(ballots)
    tables, report = _tables(ballots, decisions, options)
    files: dict[str, dict[str, str]] = {}
    for (config, split), (columns, rows) in tables.items():
        (folder / config).mkdir(exist_ok=True)
        if options.format != "parquet":
            _write(folder / config / f"{split}.jsonl", _jsonl(rows))
        if options.format != "jsonl":
            _write(folder / config / f"{split}.parquet", _parquet(columns, rows))
        # The Hub's reader cannot tell the columns of an empty JSONL file.
        if rows or options.format != "jsonl":
            kind = "jsonl" if options.format == "jsonl" else "parquet"
            files.setdefault(config, {})[split] = f"{config}/{split}.{kind}"
    wide = (*CSV_COLUMNS, "judge_name") if options.names else CSV_COLUMNS
    _write(folder / "votes" / "votes.csv", f"{BOM}{csv_text(wide, csv_rows(ballots, options.names))}")
    facts = CardFacts(files, report.train, report.test, report.left_out, options.licence, options.names)
    _write(folder / "README.md", dataset_card(ballots, decisions, facts))
    _write(folder / MARK, json.dumps(_mark(ballots), ensure_ascii=False, indent=1) + "\n")
    return report


def export_zip(ballots: Ballots, target: Path, options: ExportOptions | None = None) -> Exported:
    """Write an export as the zip file ``target``.

    Raises:
        InputError, NotFoundError, ConflictError: as :func:`export_votes`.
    """
    with needs_room(_WAY_OUT), tempfile.TemporaryDirectory(prefix="studio-votes-") as scratch:
        report = write_files(ballots, Path(scratch), options)
        pack(Path(scratch), target, target.stem)
    return report


def argilla_zip(ballots: Ballots, target: Path) -> None:
    """Write pairs and votes as an Argilla 2 dataset folder, zipped.

    Raises:
        NotFoundError, ConflictError: as :func:`export_votes`.
    """
    if not ballots.pairs:
        raise NotFoundError("There are no pairs of answers yet, so there is nothing to export.")
    with needs_room(_WAY_OUT), tempfile.TemporaryDirectory(prefix="studio-argilla-") as scratch:
        write_argilla(ballots, Path(scratch), target.stem)
        pack(Path(scratch), target, target.stem)


def push_votes(
    ballots: Ballots,
    repo: str,
    token: str,
    private: bool = True,
    options: ExportOptions | None = None,
    client: Callable[[str], HubApi] = hub_client,
) -> str:
    """Publish an export as a dataset on the Hub; its address. The token is used for this and forgotten.

    Raises:
        InputError: the repository's name or the token is not one; NotFoundError: nothing to export.
        ConflictError: private was asked for, but a public dataset of that name exists.
        NotAllowedError: the Hub refuses the token.
        StudioError: the Hub cannot be reached or refuses the upload.
    """
    with needs_room(_WAY_OUT), tempfile.TemporaryDirectory(prefix="studio-votes-") as scratch:
        report = write_files(ballots, Path(scratch), options)
        return push_folder(
            client,
            repo,
            token,
            private,
            lambda full: contextlib.nullcontext(scratch),
            f"{report.votes} votes on {report.pairs} pairs from Alignment Studio",
            "nothing is lost, download the zip instead.",
            repo_type="dataset",
        )


# -- within ---------------------------------------------------------------------------------------------------------------

_Table = tuple[Mapping[str, str], list[dict[str, Any]]]


def _tables(
    ballots: Ballots, decisions: Sequence[Decision], options: ExportOptions
) -> tuple[dict[tuple[str, str], _Table], Exported]:
    columns = dict(VOTE_COLUMNS) | ({"judge_name": "text"} if options.names else {})
    least = ballots.min_votes
    tables: dict[tuple[str, str], _Table] = {
        ("votes", "train"): (columns, vote_rows(ballots, options.names)),
        ("pairs", "train"): (PAIR_COLUMNS, pair_rows(decisions, least, options.whole)),
    }
    train, test = 0, 0
    try:
        data = preference_dataset(decisions)
    except DatasetError:
        pass  # nothing is decided yet: no preferences, and the counts say so
    else:
        train, test = len(data.pairs), len(data.heldout)
        tables["preference", "train"] = (PREFERENCE_COLUMNS, preference_rows(data.pairs, decisions))
        if test:
            tables["preference", "test"] = (PREFERENCE_COLUMNS, preference_rows(data.heldout, decisions))
    report = Exported(len(ballots.votes), len(ballots.pairs), train, test, left_out(decisions, least))
    return tables, report


def _mark(ballots: Ballots) -> dict[str, Any]:
    return {
        "kind": KIND,
        "format": FORMAT,
        "made": time.time(),
        "version": __version__,
        "votes": len(ballots.votes),
        "pairs": len(ballots.pairs),
        "votes_hash": votes_hash(ballots.votes, ballots.raters),
        "rules": dataclasses.asdict(ballots.rules),
    }


def _jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _parquet(columns: Mapping[str, str], rows: list[dict[str, Any]]) -> bytes:
    import pyarrow

    plain = {"text": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64()}
    turn = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    origin = [(field.name, plain[_ORIGIN_TYPES.get(field.name, "text")]) for field in dataclasses.fields(Origin)]
    nested = {"chat": pyarrow.list_(turn), "origin": pyarrow.struct(origin)}
    return parquet_bytes({name: nested.get(kind, kind) for name, kind in columns.items()}, rows)


def _write(path: Path, content: str | bytes) -> None:
    with open(path, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def _swap(made: Path, out: Path, old: Path) -> None:
    """Give the finished folder its name; what had it before goes to ``old``, and comes back should that fail."""
    replaced = out.exists()
    if replaced:
        out.rename(old)
    try:
        made.rename(out)
    except OSError:
        if replaced:
            old.rename(out)
        raise
    if replaced:
        shutil.rmtree(old)
