"""Prompts in normal form, to tell whether two are the same."""

from __future__ import annotations

import hashlib
import unicodedata

from studio.domain.data import PreferencePair, RatedAnswer


def normalised(text: str) -> str:
    """A prompt for comparing: NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def prompt_key(pair: PreferencePair | RatedAnswer) -> tuple[str, ...]:
    """What makes two rows the same question: the normalised prompt and the turns before it."""
    return (*(normalised(message.content) for message in pair.history), normalised(pair.prompt))


def digest(*texts: str) -> int:
    """64 bits that stand for these texts: in a million of them two share one once in some forty million times."""
    total = hashlib.blake2b(digest_size=8)
    for text in texts:
        data = text.encode()
        total.update(b"%d:" % len(data))
        total.update(data)
    return int.from_bytes(total.digest())


def prompt_digest(pair: PreferencePair | RatedAnswer) -> int:
    """:func:`digest` of :func:`prompt_key`."""
    return digest(*prompt_key(pair))
