"""The coloured words of a score: marked by weight, and escaped."""

from __future__ import annotations

from studio.domain.toxicity import EXACT, Explanation, ScorerInfo, TextScore, WordWeight
from studio.services.scoring.service import TextScores
from studio.ui.toxicity.view import scored

INFO = ScorerInfo("embedded", "embedded", "E", "abc", "it measures", ("en",), ("not toxic", "toxic"), "toxic")


def test_words_are_coloured_escaped_and_hidden_with_an_offensive_text() -> None:
    words = (WordWeight("<img src=x>", 2.5), WordWeight("you", 0.01), WordWeight("kind", -0.6))
    why = [Explanation(words, -1.0, EXACT), None]
    scores = (TextScore(0.9, -2.2, (-1.1, 1.1), "toxic"), TextScore(0.1, 2.2, (1.1, -1.1), "not toxic"))
    page = str(scored(TextScores(INFO, ("a text", "another"), scores), why))
    assert '<span class="up-3" title="+2.50">&lt;img src=x&gt;</span>' in page
    assert '<span title="+0.01">you</span>' in page
    assert '<span class="down-2" title="−0.60">kind</span>' in page
    assert page.count('<details class="why">') == 1  # closed, since the text is covered
    listed = page.split('class="moved-top"')[1].split("</ol>")[0]
    assert [one.split("</bdi>")[0] for one in listed.split("<bdi>")[1:]] == [
        "&lt;img src=x&gt;",
        "kind",
    ]  # the strongest first
    assert "makes it more toxic" in page
    assert "makes it more toxic" not in str(scored(TextScores(INFO, ("a text",), scores[:1])))
