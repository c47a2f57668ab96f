"""The word list: what it counts, what it does not know, how it is offered."""

from __future__ import annotations

import pytest

from studio.config import Settings
from studio.ml.scorers.load import load_scorer
from studio.ml.scorers.word_list import WordScorer
from studio.services.models.service import ModelService
from studio.services.runs.store import RunStore
from studio.services.scoring.service import ScoringService


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("You are an IDIOT, and a stupid one.", 2),
        ("I am sorry that you are upset. Shall we talk?", 0),
        ("你是白痴！", 1),
        ("我不同意，動畫很好看。", 0),
        ("Bonjour, tu es un idiot", None),
        ("   ", None),
        ("12 + 30 = 42", None),
    ],
)
def test_listed_words_are_counted(text: str, found: int | None) -> None:
    (score,) = WordScorer().score([text])
    if found is None:
        assert not score.covered
        return
    assert score.reward == -found
    assert score.toxicity == float(found > 0)
    assert score.label == ("listed word" if found else "no listed word")


def test_it_is_on_offer_and_loads(settings: Settings) -> None:
    service = ScoringService(settings, RunStore(settings), ModelService(settings))
    assert "word-list" in [name for _, name in service.choices()]
    spec = service.spec("word-list")
    assert load_scorer(spec).info == spec.info
    assert service.score("word-list", ["You idiot.", "You are kind."]).scores[0].toxicity == 1.0
    service.close()
