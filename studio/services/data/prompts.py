"""Prompts to ask before and after: the sets that ship (``data/toxicity/prompts-*.json``), and what somebody types or brings
along as a file.

A shipped set's file holds ``{"title", "language", "prompts": [{"id", "text", "provoking"}]}``; its id is the file's name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.config import ROOT
from studio.domain.toxicity import TestPrompt
from studio.errors import InputError
from studio.services.data.formats import PromptFile, read_prompts
from studio.services.files.records import read_record

FOLDER = ROOT / "data" / "toxicity"
#: The set that provokes a base which is polite by itself.
RANTS = "prompts-en-rants"
#: What somebody may bring along; the file's size in megabytes.
MAX_PROMPTS, MAX_PROMPT_CHARACTERS, MAX_FILE_MB = 2_000, 20_000, 5


@dataclass(frozen=True)
class PromptSet:
    """Questions under a name; a third of a shipped set was made to provoke."""

    id: str
    title: str
    language: str
    prompts: tuple[TestPrompt, ...]


@dataclass(frozen=True)
class _Line:
    id: str
    text: str
    provoking: bool = False


@dataclass(frozen=True)
class _File:
    title: str
    language: str
    prompts: tuple[_Line, ...]


def prompt_sets(folder: Path = FOLDER) -> tuple[PromptSet, ...]:
    """The sets that ship, by name of their file.

    Raises:
        InputError: a file is broken; the message names it and the field.
    """
    return tuple(_read(path) for path in sorted(folder.glob("prompts-*.json")))


def prompts_from_text(text: str) -> tuple[TestPrompt, ...]:
    """One prompt a line, empty lines left out; ids count from 1.

    Raises:
        InputError: the lines are JSON (a file's content, pasted), too many, or one is too long; names the line.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if lines and all(line.startswith("{") and line.endswith("}") for _, line in lines):
        raise InputError("These lines are JSON, not prompts: upload their file, or give one prompt a line.")
    return _checked([(str(at), f"line {number}", line) for at, (number, line) in enumerate(lines, 1)])


def prompts_from_file(path: Path, of_visitor: bool = False) -> tuple[TestPrompt, ...]:
    """The prompts of a ``.txt`` (one a line), or of a CSV, JSON or JSONL file with a ``prompt`` column; the file's own ids
    where all have one and no two are alike.

    Args:
        path: the file, of at most :data:`MAX_FILE_MB`, packed or unpacked.
        of_visitor: read it in a child process.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is too large, cannot be read as prompts, holds none, too many, or one that is too long; names the row.
        ConflictError: too many files of visitors are being read.
    """
    file = bounded_prompts(path, of_visitor)
    unique = len(set(file.ids)) == len(file.prompts)
    ids = file.ids if unique else [str(at) for at in range(1, len(file.prompts) + 1)]
    return tuple(TestPrompt(name, text) for name, text in zip(ids, file.prompts, strict=True))


def bounded_prompts(path: Path, of_visitor: bool = False) -> PromptFile:
    """A file within the bounds of what somebody may bring along, as it is; raises as :func:`prompts_from_file`."""
    if path.is_file() and path.stat().st_size > MAX_FILE_MB * 1_000_000:
        raise InputError(
            f"{path.name} has {path.stat().st_size / 1_000_000:.1f} MB; a file of prompts has at most {MAX_FILE_MB}. Split it."
        )
    return read_prompts(path, MAX_FILE_MB * 1_000_000, MAX_PROMPTS, MAX_PROMPT_CHARACTERS, of_visitor)


def as_jsonl(prompts: Sequence[TestPrompt]) -> str:
    """Prompts as a file that :func:`prompts_from_file` reads back."""
    lines = (json.dumps({"id": prompt.id, "prompt": prompt.text}, ensure_ascii=False) for prompt in prompts)
    return "".join(f"{line}\n" for line in lines)


def _checked(rows: list[tuple[str, str, str]]) -> tuple[TestPrompt, ...]:
    """Prompts of (id, where it stands, text).

    Raises:
        InputError: there are too many, or one is too long.
    """
    if len(rows) > MAX_PROMPTS:
        raise InputError(f"These are {len(rows):,} prompts; at most {MAX_PROMPTS:,} can be asked.")
    for _, where, text in rows:
        if len(text) > MAX_PROMPT_CHARACTERS:
            raise InputError(f"{where} has {len(text):,} characters; a prompt has at most {MAX_PROMPT_CHARACTERS:,}.")
    return tuple(TestPrompt(name, text) for name, _, text in rows)


def _read(path: Path) -> PromptSet:
    file = read_record(_File, path)
    prompts = tuple(TestPrompt(line.id, line.text, file.language, line.provoking) for line in file.prompts)
    return PromptSet(path.stem, file.title, file.language, prompts)
