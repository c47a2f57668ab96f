"""Kept results of votes: as they were, without names, whatever is voted later; their page is one file in which texts are texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.errors import ConflictError, InputError, NotFoundError
from studio.services.pages.votes import votes_page
from studio.services.rating.service import RatingService
from studio.services.votes.filters import VoteFilters
from studio.services.votes.kept import delete_kept, keep_votes, kept_heads, kept_votes, rename_kept
from studio.services.votes.result import Decided, result_of
from tests.helpers.votes import cast, new_pair, rated


@pytest.fixture
def rating(tmp_path: Path) -> Iterator[RatingService]:
    made, _ = rated(tmp_path)
    yield made
    made.close()


def test_a_result_stays_as_it_was_and_names_nobody(rating: RatingService) -> None:
    now = result_of(rating.ballots())
    # of 9 pairs: one without a majority, one with both bad, one with a skip and so one vote too few
    assert now.decided == Decided(decided=6, undecided=2, waiting=1)
    kept_id = keep_votes(rating)
    rating.add_pairs([new_pair(99)])
    cast(rating, rating.register("Late")[0], {})

    kept = kept_votes(rating, kept_id)
    assert (kept.title, kept.result.decided, kept.result.pairs) == ("Kind against Base model", now.decided, now.pairs)
    assert kept.result.report.matches == now.report.matches
    assert kept.result.report.agreement == now.report.agreement
    assert Counter(kept.result.report.reasons) == now.report.reasons
    assert [rater.votes for rater in kept.result.report.raters] == [rater.votes for rater in now.report.raters]
    assert "Ada" not in votes_page(kept)
    assert [(head.id, head.votes) for head in kept_heads(rating)] == [(kept_id, now.report.votes)]

    rename_kept(rating, kept_id, " Monday's class ")
    assert kept_heads(rating)[0].title == "Monday's class"
    with pytest.raises(InputError, match="Title is empty"):
        rename_kept(rating, kept_id, "  ")
    delete_kept(rating, kept_id)
    for gone in (kept_id, "v0", "../v", "v" + "0" * 16):
        with pytest.raises(NotFoundError, match="no kept result"):
            kept_votes(rating, gone)


def test_there_is_nothing_to_keep_where_no_vote_counts(rating: RatingService) -> None:
    with pytest.raises(ConflictError, match="No vote counts yet"):
        keep_votes(rating, VoteFilters(min_seconds=1e6))
    assert kept_heads(rating) == ()


def test_the_page_is_one_file_and_its_texts_are_texts(rating: RatingService) -> None:
    kept = kept_votes(rating, keep_votes(rating))
    page = votes_page(kept)
    assert "Kind is preferred to Base model" in page
    assert "95 % interval" in page
    assert page.count('<div class="card">') == len(kept.result.pairs) == 9
    # every pair's second answer is hostile
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
