"""A kept dataset's file, our own JSON or, of many rows, Parquet: written beside its place and then given a free name in one step."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import IO, Any, Literal

from studio.domain.data import SHIPPED, Kind, Pairs, PreferenceDataset, RatedAnswer
from studio.errors import DatasetError
from studio.services.data import preference_rows
from studio.services.data.annotated.rated import pairs_of
from studio.services.data.formats import read_document
from studio.services.data.kept.rows import KeptRows, R, RowWriter, first_held
from studio.services.data.row_reader import Parsed
from studio.services.files.records import parse

SUFFIXES = (".json", ".parquet")
#: Prompts for before/after answers that a dataset of many pairs takes from its held-out ones.
_TEST_PROMPTS = 1_000


@dataclass(frozen=True)
class _About:
    """What a Parquet file says beside its rows, of which the first ``n_heldout`` are the held-out pairs; the others are what it
    ``holds``."""

    title: str
    kind: Kind
    language: str
    source: str
    notes: tuple[str, ...]
    test_prompts: tuple[str, ...]
    content_hash: str
    n_heldout: int
    holds: Literal["pairs", "prompts", "rated"] = "pairs"


def read_dataset(path: Path, shipped: bool) -> PreferenceDataset:
    """A kept dataset; the rows of a Parquet file are read when they are asked for.

    Raises:
        DatasetError: the file is none. FileNotFoundError, NotFoundError: it is gone.
    """
    if path.suffix == ".parquet":
        kept: KeptRows[Any] = KeptRows.open(path)
        about = parse(_About, kept.about, path.name)
        rows: Any = kept[about.n_heldout :]
        known: dict[str, Any] = asdict(about)
        parts: dict[str, Any] = {"pairs": _paired(rows) if about.holds == "rated" else (), known.pop("holds"): rows}
        return PreferenceDataset(path.stem, heldout=kept[: known.pop("n_heldout")], **parts, **known)
    # No limit here: what was let in stays readable when the limit is lowered later, and our JSON is wordier.
    document = read_document(path, sys.maxsize)
    if not isinstance(document, dict):
        raise DatasetError(f"{path.name} is not a dataset of this studio.")
    parsed = preference_rows.parse_own(document, path.name)
    return as_dataset(path.stem, replace(parsed, source=SHIPPED) if shipped else parsed)


def kept_file(folder: Path, dataset_id: str) -> Path | None:
    """The file of that dataset in a folder, if it is there."""
    return next((path for end in SUFFIXES if (path := folder / f"{dataset_id}{end}").is_file()), None)


def as_dataset(dataset_id: str, parsed: Parsed) -> PreferenceDataset:
    """What was read, as the dataset of that id: without test prompts it is tested on those of the held-out pairs."""
    tests = parsed.test_prompts or tuple(pair.prompt for pair in parsed.heldout)
    return PreferenceDataset(
        id=dataset_id,
        title=parsed.title or dataset_id,
        kind=parsed.kind,
        language=parsed.language,
        pairs=parsed.pairs or _paired(parsed.rated),
        heldout=parsed.heldout,
        test_prompts=tests,
        content_hash=preference_rows.content_hash(parsed.pairs, parsed.heldout, tests, parsed.prompts, parsed.rated),
        source=parsed.source,
        prompts=parsed.prompts,
        notes=parsed.notes,
        rated=parsed.rated,
    )


def write_dataset(parsed: Parsed, folder: Path, taken: Path) -> Path:
    """Write the dataset into ``folder`` under an id that is free there and in ``taken``; the file's stem is that id.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; nothing has been kept then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".import-", dir=folder)
    temporary = Path(name)
    try:
        many = not all(isinstance(rows, tuple) for rows in (parsed.pairs, parsed.heldout, parsed.prompts, parsed.rated))
        with os.fdopen(handle, "wb") as out:
            if many:
                _write_rows(parsed, out)
            else:
                out.writelines(line.encode() for line in _lines(parsed))
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o644)
        slug = _slug(parsed.title)
        for number in count(1):
            name = slug if number == 1 else f"{slug}-{number}"
            if kept_file(taken, name) or kept_file(folder, name):
                continue
            path = folder / f"{name}{SUFFIXES[many]}"
            if _take_name(temporary, path):
                return path
        raise AssertionError("count() has no end")
    finally:
        temporary.unlink(missing_ok=True)


def guess_language(parsed: Parsed) -> str:
    """A guess from the script of the first prompts and answers: zh, ja, ko, en, or empty where it is not clear."""
    texts = [*(f"{pair.prompt} {pair.support}" for pair in parsed.pairs[:50]), *parsed.prompts[:50]]
    texts += [f"{answer.prompt} {answer.completion}" for answer in parsed.rated[:50]]
    text = " ".join(texts).casefold()
    letters = [char for char in text if char.isalpha()]
    if not letters:
        return ""
    scripts = {
        "ja": sum("\u3040" <= char <= "\u30ff" for char in letters),
        "ko": sum("\uac00" <= char <= "\ud7af" for char in letters),
        "zh": sum("\u4e00" <= char <= "\u9fff" for char in letters),
    }
    # kana stands among Chinese characters in Japanese, hardly ever in Chinese
    for language, least in (("ja", 0.1), ("ko", 0.3), ("zh", 0.3)):
        if scripts[language] > least * len(letters):
            return language
    return "en" if len({"the", "and", "of", "to", "is"} & set(text.split())) >= 3 else ""


def _write_rows(parsed: Parsed, out: IO[bytes]) -> None:
    """Many rows as Parquet. Without test prompts of their own the first of the held-out ones are that: a table holds no more."""
    tests = parsed.test_prompts or tuple(pair.prompt for pair in parsed.heldout[:_TEST_PROMPTS])
    writer = RowWriter(out)

    def written(rows: Sequence[R]) -> Iterable[R]:
        return writer.through(rows) if rows else ()

    rows = written(parsed.pairs), written(parsed.heldout), tests, written(parsed.prompts), written(parsed.rated)
    hashed = preference_rows.content_hash(*rows)
    names = (parsed.title, parsed.kind, parsed.language, parsed.source)
    holds: Any = "rated" if parsed.rated else "prompts" if parsed.prompts else "pairs"
    writer.close(asdict(_About(*names, parsed.notes, tests, hashed, len(parsed.heldout), holds)))


def _paired(rated: Sequence[RatedAnswer]) -> Pairs:
    """The pairs that answers make; of many, those that the first of them make."""
    return pairs_of(first_held(rated)[0])


def _take_name(temporary: Path, path: Path) -> bool:
    """Give the finished file its name unless somebody has it already, in one step where the file system can."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        # No hard links here (some network and FAT drives); two imports in the same millisecond could then collide.
        if path.exists():
            return False
        os.replace(temporary, path)
    return True


def _slug(title: str) -> str:
    text = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:60].strip("-") or "dataset"


def _lines(parsed: Parsed) -> Iterator[str]:
    """Our own JSON, one pair a line: quick to write, and a person can read and compare it."""
    head = {field: getattr(parsed, field) for field in ("title", "kind", "language", "source")}
    if parsed.notes:
        head["notes"] = parsed.notes
    yield json.dumps({"format": preference_rows.FORMAT, **head}, ensure_ascii=False, indent=1).removesuffix("\n}")
    parts = {"pairs": map(preference_rows.plain, parsed.pairs), "heldout": map(preference_rows.plain, parsed.heldout)}
    prompts = {"prompts": parsed.prompts} if parsed.prompts else {}
    rated = {"rated": map(preference_rows.plain, parsed.rated)} if parsed.rated else {}
    for name, rows in {**parts, **rated, **prompts, "test_prompts": parsed.test_prompts}.items():
        yield f',\n "{name}": ['
        for number, row in enumerate(rows):
            yield ("," if number else "") + "\n  " + json.dumps(row, ensure_ascii=False)
        yield "\n ]"
    yield "\n}\n"
