"""Prompts to ask before and after: the sets that ship (``data/toxicity/prompts-*.json``), and what somebody types.

A set's file holds ``{"title", "language", "prompts": [{"id", "text", "provoking"}]}``; its id is the file's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.config import ROOT
from studio.domain.toxicity import TestPrompt
from studio.errors import InputError
from studio.services.files.records import read_record

FOLDER = ROOT / "data" / "toxicity"
#: What somebody may bring along.
MAX_PROMPTS, MAX_PROMPT_CHARACTERS = 2_000, 20_000


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
    return checked([(str(at), f"line {number}", line) for at, (number, line) in enumerate(lines, 1)])


def checked(rows: list[tuple[str, str, str]]) -> tuple[TestPrompt, ...]:
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
