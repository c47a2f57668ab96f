"""Lessons are Markdown files: a few settings between ``---`` lines, the text, and below ``## After`` what is shown when it is over."""

from __future__ import annotations

from pathlib import Path

from studio.domain.lessons import Lesson
from studio.errors import InputError

_AFTER = "\n## After\n"


def read_lessons(folder: Path) -> list[Lesson]:
    """The lessons of a folder, by the names of their files; none where there is no such folder.

    Raises:
        InputError: a file is none; the message names it and what is missing.
    """
    return [_read(path) for path in sorted(folder.glob("*.md"))]


def _read(path: Path) -> Lesson:
    head, _, body = path.read_text(encoding="utf-8").removeprefix("---\n").partition("\n---\n")
    named = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in head.splitlines())}
    before, _, after = (part.strip() for part in body.partition(_AFTER))
    try:
        lesson = Lesson(
            path.stem,
            named["title"],
            named["data"],
            float(named["ratio"]),
            int(named["pairs"]),
            f"{before}\n\n**{named['ask']}**",
            after,
        )
    except KeyError as error:
        raise InputError(
            f"{path.name} has no {error.args[0]}; a lesson begins with title, data, ratio, pairs, ask."
        ) from error
    except ValueError as error:
        raise InputError(f"{path.name}: ratio and pairs must be numbers.") from error
    if not (before and after):
        raise InputError(f"{path.name} needs a text, and another below '## After'.")
    return lesson
