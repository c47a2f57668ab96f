"""Prompts out of a file that somebody brings along, and such a file of prompts there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from studio.domain.toxicity import TestPrompt
from studio.errors import InputError, NotFoundError
from studio.services.data.formats import read_prompts
from studio.services.data.prompt_sets import checked

#: Largest file of prompts, in megabytes.
MAX_FILE_MB = 5


def prompts_from_file(path: Path) -> tuple[TestPrompt, ...]:
    """The prompts of a ``.txt`` (one a line), or of a CSV, JSON or JSONL file with a ``prompt`` column; the file's own ids
    where all have one and no two are alike.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is too large, cannot be read as prompts, holds none, too many, or one that is too long; names the row.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    if path.stat().st_size > MAX_FILE_MB * 1_000_000:
        raise InputError(
            f"{path.name} has {path.stat().st_size / 1_000_000:.1f} MB; a file of prompts has at most {MAX_FILE_MB}. Split it."
        )
    found = read_prompts(path, MAX_FILE_MB * 1_000_000)  # also what is packed in it may be no larger
    own = len(set(found.ids)) == len(found.prompts)
    ids = found.ids if own else tuple(str(at) for at in range(1, len(found.prompts) + 1))
    return checked([(ids[at], f"{path.name}, prompt {at + 1}", text) for at, text in enumerate(found.prompts)])


def as_jsonl(prompts: Sequence[TestPrompt]) -> str:
    """Prompts as a file that :func:`prompts_from_file` reads back."""
    lines = (json.dumps({"id": prompt.id, "prompt": prompt.text}, ensure_ascii=False) for prompt in prompts)
    return "".join(f"{line}\n" for line in lines)
