"""Prompts to ask before and after: the sets that ship (``data/toxicity/prompts-*.json``), and what somebody types.

A set's file holds ``{"title", "language", "prompts": [{"id", "text", "provoking"}]}``; its id is the file's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.config import ROOT
from studio.services.records import read_record
from studio.toxicity import TestPrompt

FOLDER = ROOT / "data" / "toxicity"


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
    """One prompt a line, empty lines left out; ids count from 1."""
    lines = [line.strip() for line in text.splitlines()]
    return tuple(TestPrompt(str(at), line) for at, line in enumerate([line for line in lines if line], 1))


def _read(path: Path) -> PromptSet:
    file = read_record(_File, path)
    prompts = tuple(TestPrompt(line.id, line.text, file.language, line.provoking) for line in file.prompts)
    return PromptSet(path.stem, file.title, file.language, prompts)
