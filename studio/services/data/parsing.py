"""What a file of data is: the studio's own JSON, pairs, or dialogues to summarise; each is read by its own module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from studio.services.data import preference_rows as imports
from studio.services.data.dialogues import holds_dialogues, parse_dialogues
from studio.services.data.formats import RawRow, read_document
from studio.services.data.preference_rows import Parsed


def parse_file(path: Path, max_bytes: int, skip_broken: bool = False) -> Parsed:
    """The data of a file in any known format.

    Args:
        path: the file; its suffix tells the format.
        max_bytes: size limit, packed and unpacked.
        skip_broken: leave out rows that break the format, with a warning that counts and names them, instead of refusing
            the file.

    Raises:
        NotFoundError: there is no such file.
        DatasetError: the file or a row breaks its format; the message names row and field.
    """
    document = read_document(path, max_bytes)
    if isinstance(document, dict):
        return imports.parse_own(document, path.name)
    return parse_rows(document, path.name, skip_broken)


def parse_rows(rows: Sequence[RawRow], name: str, skip_broken: bool = False) -> Parsed:
    """Pairs, or prompts of dialogues, from rows of one kind.

    Raises:
        DatasetError: no rows, or a row breaks the format; the message starts with ``name``.
    """
    parse = parse_dialogues if holds_dialogues(rows) else imports.parse_rows
    return parse(rows, name, skip_broken)
