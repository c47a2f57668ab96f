"""Thumbs on single answers: on what, by whom, how many, and what comes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.config import Settings
from studio.domain.data import Message
from studio.domain.votes import Rater
from studio.errors import ConflictError, DatasetError, NotAllowedError, NotFoundError
from studio.services.data.datasets import DatasetService
from studio.services.rating import thumbs as module
from studio.services.rating.service import RatingService
from studio.services.rating.thumbs import ThumbService, rated_answers
from tests.helpers.rating import pair, somebody

ASKED = (Message("system", "Be short."), Message("user", "Tea or coffee?"))


@pytest.fixture
def thumbs(rating: RatingService) -> ThumbService:
    made = ThumbService(rating)
    for answer in ("Tea.", "Coffee."):
        made.gave(ASKED, answer, "base")
    return made


def test_a_thumb_is_kept_turned_and_taken_back(rating: RatingService, thumbs: ThumbService) -> None:
    anna, ben = somebody(rating), somebody(rating, "Ben")
    thumbs.rate(anna, ASKED, "Tea.", True)
    thumbs.rate(ben, ASKED, "Tea.", True)
    thumbs.rate(ben, ASKED, "Coffee.", True)
    thumbs.rate(ben, ASKED, "Coffee.", False)
    assert [(t.rater_id, t.completion, t.liked) for t in thumbs.all()] == [
        (anna.id, "Tea.", True),
        (ben.id, "Tea.", True),
        (ben.id, "Coffee.", False),
    ]
    one = thumbs.all()[0]
    assert (one.system_prompt, one.history, one.prompt, one.model) == ("Be short.", (), "Tea or coffee?", "base")
    thumbs.rate(ben, ASKED, "Coffee.", None)
    assert len(thumbs.all()) == 2


def test_only_answers_given_here_can_be_rated(
    rating: RatingService, thumbs: ThumbService, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = somebody(rating)
    for turns, answer in ((ASKED, "Words of my own."), (ASKED[1:], "Tea.")):
        with pytest.raises(NotFoundError, match="given since the studio was started"):
            thumbs.rate(anna, turns, answer, True)
    with pytest.raises(NotAllowedError):
        thumbs.rate(Rater("nobody", "Nobody"), ASKED, "Tea.", True)
    monkeypatch.setattr(module, "MAX_THUMBS", 1)
    thumbs.rate(anna, ASKED, "Tea.", True)
    thumbs.rate(anna, ASKED, "Tea.", False)  # the one that is there can be turned
    with pytest.raises(ConflictError, match="You rated 1 answers"):
        thumbs.rate(anna, ASKED, "Coffee.", True)
    monkeypatch.setattr(module, "MAX_GIVEN", 1)
    thumbs.gave(ASKED, "Milk.", "base")
    with pytest.raises(NotFoundError):
        thumbs.rate(anna, ASKED, "Tea.", None)


def test_answers_of_a_pair_and_the_dataset_that_comes_of_it(
    rating: RatingService, thumbs: ThumbService, tmp_path: Path
) -> None:
    datasets = DatasetService(Settings(data_dir=tmp_path / "shipped", imported_dir=tmp_path / "imported"))
    with pytest.raises(DatasetError, match="no thumbs yet"):
        thumbs.keep_as_dataset(datasets)
    (pair_id,) = rating.add_pairs([pair(a="Tea.", b="Coffee.", system_prompt="Be short.")]).ids
    anna, ben = somebody(rating), somebody(rating, "Ben")
    stored = rating.ballots().pairs[0]
    for rater in (anna, ben):
        thumbs.rate_in_pair(rater, pair_id, "1", True)
    # the same answer to the same question in Compare is the same row
    thumbs.rate(anna, ASKED, stored.answer_2, False)
    thumbs.rate_in_pair(ben, pair_id, "2", True)
    with pytest.raises(NotFoundError, match="no such pair"):
        thumbs.rate_in_pair(anna, "0" * 24, "1", True)
    rated, split = rated_answers(thumbs.all())
    assert ([(a.completion, a.liked) for a in rated], split) == ([(stored.answer_1, True)], 1)
    thumbs.rate_in_pair(ben, pair_id, "2", False)
    data = thumbs.keep_as_dataset(datasets)
    assert (data.kind, data.source) == ("rated", "thumbs")
    assert [(a.completion, a.liked) for a in data.rated] == [(stored.answer_1, True), (stored.answer_2, False)]
    assert datasets.get(data.id) == data
    (made,) = data.pairs
    assert (made.prompt, made.support, made.history) == ("Tea or coffee?", stored.answer_1, ASKED[:1])
