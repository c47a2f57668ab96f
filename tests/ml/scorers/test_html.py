"""A text that is HTML is scored by what it shows."""

from __future__ import annotations

import pytest

from studio.ml.scorers.embedded import EmbeddedScorer
from studio.ml.scorers.protocol import Scorer
from studio.ml.scorers.text import shown
from studio.ml.scorers.word_list import WordScorer

RUDE, CALM = "You are a stupid idiot.", "Good morning, thank you for the help."


@pytest.fixture(scope="module", params=[EmbeddedScorer, WordScorer])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    made: Scorer = request.param()
    return made


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("<p>You are a <b>stupid</b> <i>idiot</i>.</p>", RUDE),
        ("You are a stu<b>pid</b> id<span class='x'>iot</span>.", RUDE),
        ("&#89;ou are a stupid&nbsp;idiot&period;", RUDE),
        ("You are a stu<!-- hidden -->pid idiot.<br/>", RUDE),
        (f"<div>{CALM}</div><!-- {RUDE} -->", CALM),
        (f"<style>.idiot {{}}</style><script>say('stupid idiot')</script>{CALM}", CALM),
        (f'<a href="https://x.example/stupid-idiot" title="stupid">{CALM}</a>', CALM),
    ],
)
def test_a_text_scores_as_what_it_shows(scorer: Scorer, text: str, seen: str) -> None:
    (of_html, of_text) = scorer.score([text, seen])
    assert of_html.toxicity == pytest.approx(of_text.toxicity, abs=0.05)


def test_blocks_part_words_and_what_is_no_html_stays() -> None:
    assert shown("<ul><li>One</li><li>two</li></ul>").split() == ["One", "two"]
    assert shown("one<wbr>two") == "onetwo"
    for text in ("a < b and c > d", "if x <y and z> w", "I <3 you", "x & y", "List<Foo> <unknown>"):
        assert shown(text) == text
    assert shown("&lt;b&gt;bold&lt;/b&gt;") == "<b>bold</b>"
