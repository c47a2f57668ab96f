"""``get_score``: one answer's score from a script or a notebook."""

from __future__ import annotations

import doctest

import pytest

from studio.config import Settings
from studio.errors import InputError
from studio.services import scoring
from studio.services.scoring import get_score


def test_its_example_runs() -> None:
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(get_score, "get_score", globs={})
    assert len(example.examples) == 4
    assert doctest.DocTestRunner().run(example).failed == 0


def test_what_has_no_score_is_refused(settings: Settings) -> None:
    with pytest.raises(InputError, match="no reward model to score with"):
        get_score("How are you?", "Fine.", settings=settings)
    with pytest.raises(InputError, match="word-list does not cover this answer"):
        get_score("How are you?", "12 + 30 = 42", "word-list", settings=settings)
    with pytest.raises(InputError, match="Answer 1 is empty"):
        get_score("How are you?", " ", "word-list", settings=settings)


def test_the_scorer_stays_for_the_next_call(settings: Settings) -> None:
    assert get_score("How are you?", "You idiot.", "word-list", settings=settings) == -1
    (first,) = scoring._service(settings)._held.values()
    assert get_score("How are you?", "Fine, thank you.", "word-list", settings=settings) == 0
    assert scoring._service(settings)._held[False] == first
