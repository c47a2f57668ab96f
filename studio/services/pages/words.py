"""The words that moved, as a template draws them."""

from __future__ import annotations

from studio.domain.words import MovedWords

#: Nats at which a word has its full colour.
_STRONGEST = 4.0


def shaded(words: MovedWords) -> list[tuple[str, str, float]]:
    """Each token with its background and by how many nats it moved: the studio's blue where it became likelier, its orange where
    less."""
    return [(token.text, _shade(token.difference), token.difference) for token in words.tokens]


def _shade(difference: float) -> str:
    share = min(1.0, abs(difference) / _STRONGEST)
    return f"rgba({'59, 111, 182' if difference > 0 else '224, 122, 63'}, {0.6 * share:.2f})"
