"""Bounds and normal forms of texts from outside."""

from __future__ import annotations

import unicodedata

from studio.errors import InputError

#: Characters of one text at most: more than any answer here can have, and still quick to send to a phone.
MAX_TEXT = 100_000


def normalised(text: str) -> str:
    """``text`` as it is compared: NFC, white space collapsed."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def check_text(field: str, text: object, *, limit: int = MAX_TEXT, empty: bool = False) -> str:
    """``text``, if it can be stored and shown.

    Raises:
        InputError: it is no text, empty, too long, or holds what is no character; the message names ``field``.
    """
    if not isinstance(text, str):
        raise InputError(f"{field} is {type(text).__name__}; it must be text.")
    if len(text) > limit:
        raise InputError(f"{field} is {len(text):,} characters long; at most {limit:,} are accepted.")
    if "\0" in text:
        raise InputError(f"{field} holds a NUL character at position {text.index(chr(0)) + 1:,}; remove it.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{field} holds half a character (a lone surrogate) at position {error.start + 1:,}; it is not valid Unicode."
        ) from None
    if not empty and not normalised(text):
        raise InputError(f"{field} is empty; write something.")
    return text
