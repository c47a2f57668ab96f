"""Which words carry a score, for any scorer: what the score loses when each word is left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from studio.domain.toxicity import LEFT_OUT, Context, Explanation, TextScore, WordWeight
from studio.ml.scorers.protocol import Scorer

#: Parts of a text that are left out one at a time; of a longer text a part is several words.
MAX_PARTS = 60
_WORD = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]|[^\\s\u3400-\u4dbf\u4e00-\u9fff]+")


def left_out(
    scorer: Scorer, texts: Sequence[str], scores: Sequence[TextScore], prompts: Sequence[Context] | None = None
) -> list[Explanation | None]:
    """The weight of every word: the reward without it less the reward with it, so that a word above 0 makes its text more toxic (for a
    reward run: less preferred). A word without which the text is not covered has the weight 0. None for a text that is not covered.

    Raises:
        StudioError: as ``scorer.score``.
    """
    explained: list[Explanation | None] = []
    for index, (text, score) in enumerate(zip(texts, scores, strict=True)):
        if score.reward is None:
            explained.append(None)
            continue
        parts = _parts(text)
        without = [text[:start] + text[stop:] for start, stop in parts]
        asked = None if prompts is None else [prompts[index]] * len(without)
        words = [
            WordWeight(text[start:stop], 0.0 if left.reward is None else left.reward - score.reward)
            for (start, stop), left in zip(parts, scorer.score(without, asked), strict=True)
        ]
        explained.append(Explanation(tuple(words), 0.0, LEFT_OUT))
    return explained


def _parts(text: str) -> list[tuple[int, int]]:
    words = [match.span() for match in _WORD.finditer(text)]
    size = -(-len(words) // MAX_PARTS) or 1
    groups = [words[at : at + size] for at in range(0, len(words), size)]
    return [(group[0][0], group[-1][1]) for group in groups]
