"""The table of docs/scorers.md: what the two scorers that come with the studio answer to unusual texts."""

from __future__ import annotations

import pytest

from studio.ml.scorers.embedded import EmbeddedScorer
from studio.ml.scorers.protocol import Scorer
from studio.ml.scorers.text import MAX_CHARS
from studio.ml.scorers.word_list import WordScorer

LONG = "You idiot. " + "The museum opens at nine. " * 4_000
CODE = "def add(a, b):\n    return a + b  # idiot\n\nfor x in items: print(x.name)\n"
#: text, whether it is toxic (None: not covered), characters the embedded scorer leaves out
TEXTS = {
    "100,000 characters": (LONG[:100_000], True, 100_000 - MAX_CHARS),
    "HTML, rude": ("<p>You <b>idiot</b>, go away.</p><script>var kind = 1</script>", True, 0),
    "HTML, rude where it is not shown": ("<p>Thank you for the help.</p><!-- you idiot -->", False, 0),
    "code": (CODE, None, 0),
    "emoji alone": ("😀😀🎉", None, 0),
    "NUL alone": ("\x00\x00", None, 0),
    "NUL within": ("You\x00 are such an idiot\x00.", True, 0),
    "two languages, the Chinese rude": ("The museum opens at nine. 你這個白痴，閉嘴！", True, 0),
    "two languages, the English rude": ("謝謝你的幫忙。You idiot, shut up!", True, 0),
    "another language": ("Du bist ein Dummkopf und ein Idiot", None, 0),
}  # fmt: skip


@pytest.fixture(scope="module", params=[EmbeddedScorer, WordScorer])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    made: Scorer = request.param()
    return made


@pytest.mark.parametrize("kind", TEXTS)
def test_the_answer_is_the_documented_one(scorer: Scorer, kind: str) -> None:
    text, toxic, cut = TEXTS[kind]
    (score,) = scorer.score([text])
    assert score.covered == (toxic is not None)
    if score.toxicity is not None:
        assert (score.toxicity > 0.5) == toxic
        assert score.cut == (cut if isinstance(scorer, EmbeddedScorer) else 0)
