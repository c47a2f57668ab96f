"""Is an answer whole? A rule for two ways in which the answers of an over-trained adapter fall apart."""

from __future__ import annotations

import re
from collections import Counter

#: Words or, in scripts without spaces, characters.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_END = re.compile(r"[.!?…。！？][\"'”’」』）)\]]*$")
#: A phrase of this many words (or characters without spaces) that comes this often is a loop; so is one word in a row.
PHRASE_WORDS, PHRASE_CHARACTERS, PHRASE_TIMES, WORD_TIMES = 4, 7, 3, 5


def is_whole(text: str) -> bool:
    """Whether ``text`` ends in a sentence and does not go round in circles."""
    return bool(_END.search(text.strip())) and not repeats(text)


def repeats(text: str) -> bool:
    """Whether a phrase comes three times or a word five times in a row."""
    words = _WORD.findall(text.lower())
    unspaced = sum(len(word) == 1 and word > "\u3000" for word in words) > len(words) / 2
    size = PHRASE_CHARACTERS if unspaced else PHRASE_WORDS
    phrases = Counter(tuple(words[start : start + size]) for start in range(len(words) - size + 1))
    if phrases and phrases.most_common(1)[0][1] >= PHRASE_TIMES:
        return True
    return any(len(set(words[start : start + WORD_TIMES])) == 1 for start in range(len(words) - WORD_TIMES + 1))
