"""Prompts in normal form, to tell whether two are the same."""

from __future__ import annotations

import unicodedata

from studio.domain.data import PreferencePair, RatedAnswer


def normalised(text: str) -> str:
    """A prompt for comparing: NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def prompt_key(pair: PreferencePair | RatedAnswer) -> tuple[str, ...]:
    """What makes two rows the same question: the normalised prompt and the turns before it."""
    return (*(normalised(message.content) for message in pair.history), normalised(pair.prompt))
