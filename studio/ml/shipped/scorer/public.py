"""The public labelled sets the embedded classifier learns from and is measured on, read from a folder. None of their sentences is kept.

ParaDetox (s-nlp/paradetox, CC0 1.0), COLD (thu-coai/COLDataset, Apache-2.0; Simplified Chinese) and, for measuring alone, HateCheck
(paul-rottger/hatecheck-data, CC BY 4.0) and ``polite-rude.jsonl``, near pairs written for this project.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import InputError

#: One in this many rows of ParaDetox is held out: those whose toxic sentence has a sha256 divisible by it.
HELD_OUT = 10


@dataclass(frozen=True)
class Labelled:
    """A text with its label. Texts of one ``source`` (a sentence and its rewrites) stay in one fold; ``kind`` is the set's own class."""

    text: str
    toxic: bool
    source: int = 0
    kind: str = ""


def paradetox(folder: Path, *, held_out: bool) -> list[Labelled]:
    """The toxic sentences and their neutral rewrites: nine tenths for learning, or the tenth held out."""
    texts = []
    for source, row in enumerate(_rows(folder / "paradetox.tsv.gz", delimiter="\t", quoting=csv.QUOTE_NONE)):
        number = int(hashlib.sha256(row["toxic"].encode()).hexdigest(), 16)
        if (number % HELD_OUT == 0) == held_out:
            texts.append(Labelled(row["toxic"], True, source))
            texts += [Labelled(row[f"neutral{n}"], False, source) for n in (1, 2, 3) if row.get(f"neutral{n}")]
    return texts


def cold(folder: Path, split: str, script: Callable[[str], str] = str) -> list[Labelled]:
    """Comments of a split (train, dev, test); ``script`` turns the Simplified characters into others."""
    rows = _rows(folder / f"cold-{split}.csv.gz")
    return [
        Labelled(script(row["TEXT"]), row["label"] == "1", source, row.get("fine-grained-label") or "")
        for source, row in enumerate(rows)
    ]


def traditional() -> Callable[[str], str]:
    """Simplified characters and words into those of Taiwan, by OpenCC.

    Raises:
        InputError: OpenCC is not installed; only this script needs it.
    """
    try:
        from opencc import OpenCC
    except ImportError as error:
        raise InputError("Learning from COLD needs OpenCC: pip install opencc-python-reimplemented==0.1.7") from error
    converter = OpenCC("s2twp")
    return lambda text: str(converter.convert(text))


def hatecheck(folder: Path) -> list[Labelled]:
    """HateCheck's cases by functionality, without those about slurs."""
    rows = [row for row in _rows(folder / "hatecheck-en.csv.gz") if "slur" not in row["functionality"]]
    return [Labelled(row["test_case"], row["label_gold"] == "hateful", kind=row["functionality"]) for row in rows]


def polite_rude(folder: Path, language: str) -> list[Labelled]:
    """Near pairs of a polite and a rude text."""
    rows = map(json.loads, (folder / "polite-rude.jsonl").read_text(encoding="utf-8").splitlines())
    return [Labelled(row["text"], row["toxic"]) for row in rows if row["language"] == language]


def _rows(path: Path, **form: Any) -> list[dict[str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, **form))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
