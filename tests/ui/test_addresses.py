"""What an address asks for, whoever wrote it."""

from __future__ import annotations

import pytest

from studio.config import Settings
from studio.errors import StudioError
from studio.services import Services
from studio.services.votes.kept import keep_votes
from studio.ui.addresses import place_of
from tests.helpers.runs import queue
from tests.helpers.votes import cast, new_pair

TABS = ("align", "compare", "rate", "toxicity")


def test_a_kept_result_opens_in_rate(services: Services) -> None:
    services.rating.add_pairs([new_pair(1)])
    cast(services.rating, services.rating.register("Ada")[0], {})
    with pytest.raises(StudioError, match="No vote counts"):
        keep_votes(services.rating)  # a skip is no vote
    services.rating.add_pairs([new_pair(2)])
    (pair,) = [one.id for one in services.rating.ballots().pairs if one.prompt == "Question 2?"]
    cast(services.rating, services.rating.register("Ben")[0], {pair: "1"})
    kept = keep_votes(services.rating)
    assert place_of(services, f"votes={kept}", TABS) == {"tab": "rate", "show_votes": kept}
    assert place_of(services, "tab=rate&votes=now", TABS) == {"tab": "rate", "show_votes": "now"}


def test_runs_open_where_they_are_trained_or_in_compare(services: Services, settings: Settings) -> None:
    queue(settings, "mine")
    assert place_of(services, "", TABS) == {"tab": "align"}
    assert place_of(services, "tab=compare", TABS) == {"tab": "compare"}
    assert place_of(services, "run=mine", TABS) == {"tab": "align", "align_run": "mine"}
    assert place_of(services, "tab=toxicity&run=mine&more=1", TABS) == {"tab": "align", "align_run": "mine"}
    assert place_of(services, "tab=compare&run=mine", TABS) == {"tab": "compare", "compare_run": "mine"}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("tab=<img src=x>", "the tabs are align, compare, rate, toxicity"),
        ("run=../../etc/passwd", "is not a run id"),
        ("run=" + "a" * 5000, "is not a run id"),
        ("tab=compare&run=gone", "There is no run gone"),
        ("evaluation=0", "evaluation"),
        ("votes=<img>", "no kept result"),
        ("run=%ff%00", "is not a run id"),
    ],
)
def test_what_is_not_there_is_named(services: Services, query: str, words: str) -> None:
    with pytest.raises(StudioError, match=words):
        place_of(services, query, TABS)
