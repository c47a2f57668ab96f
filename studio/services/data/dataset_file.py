"""A kept dataset's file: our own JSON, written beside its place and then given a free name in one step."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from studio.domain.data import PreferenceDataset
from studio.services.data import preference_rows
from studio.services.data.annotated.rated import pairs_of
from studio.services.data.row_reader import Parsed


def as_dataset(dataset_id: str, parsed: Parsed) -> PreferenceDataset:
    """What was read, as the dataset of that id: without test prompts it is tested on those of the held-out pairs."""
    tests = parsed.test_prompts or tuple(pair.prompt for pair in parsed.heldout)
    return PreferenceDataset(
        id=dataset_id,
        title=parsed.title or dataset_id,
        kind=parsed.kind,
        language=parsed.language,
        pairs=parsed.pairs or pairs_of(parsed.rated),
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
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.writelines(_lines(parsed))
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o644)
        slug = _slug(parsed.title)
        for number in count(1):
            name = f"{slug}.json" if number == 1 else f"{slug}-{number}.json"
            if (taken / name).exists():
                continue
            if _take_name(temporary, folder / name):
                return folder / name
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
