"""An answer with each token coloured by how much likelier an adapter makes it than the base; and a training pair so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from studio.domain.words import MovedPair, MovedWords
from studio.ui.page import theme
from studio.ui.parts.html import Macros

_HTML = Macros("parts/moved_words.html")
#: Blue and orange are told apart by every kind of eye; the line below a token is solid for more, dotted for less.
UP, DOWN = theme.PALETTE[0], theme.OPPOSE_COLOR
#: Nats that get the full colour at least, so that an answer in which little moved stays pale.
LEAST_SCALE = 1.0


def moved_html(words: MovedWords) -> Markup:
    """The answer, the tokens that moved most, the sum and the implicit reward."""
    return _HTML.moved(*_drawn(words))


def answers_html(answers: Sequence[tuple[str, MovedWords]]) -> Markup:
    """:func:`moved_html` of several answers, each below its prompt."""
    return _HTML.answers([(prompt, *_drawn(words)) for prompt, words in answers])


def pair_html(pair: MovedPair, number: int, count: int) -> Markup:
    """Both answers of training pair ``number`` of ``count``, their log-probabilities before and after the run, and the margin."""
    sides = (("preferred", pair.chosen), ("not preferred", pair.rejected))
    return _HTML.pair(pair, number, count, [(name, *_drawn(words)) for name, words in sides])


def _drawn(words: MovedWords) -> tuple[Any, ...]:
    strongest = [(token.text, token.difference) for token in words.strongest()]
    scale = max([LEAST_SCALE, *(abs(token.difference) for token in words.tokens)])
    return words, scale, strongest, UP, DOWN
