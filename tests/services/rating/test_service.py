"""Rating: pairs, serving, rules and decisions, against a real store; voting is in test_voting."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections import Counter

import pytest
from sqlalchemy import select

from studio.domain.data import Message
from studio.domain.votes import AnswerPair, Ballots, NewPair, RatingRules, Vote
from studio.errors import ConflictError, InputError, NotFoundError
from studio.services.rating import tokens
from studio.services.rating.pair_id import pair_identity
from studio.services.rating.rules import GUIDELINES, decide
from studio.services.rating.service import RatingService
from studio.services.texts import normalised
from studio.store import servings, tables
from tests.helpers.pairs import ADAPTER_ORIGIN, BASE_ORIGIN, new_pairs, press_until_done
from tests.helpers.rating import assert_counters_are_right, pair, press, served_to, somebody

# ---- pairs


def test_a_pair_is_kept_as_it_came_with_answers_in_canonical_order(rating: RatingService) -> None:
    talk = (Message("user", "Hi  there"), Message("assistant", "Hello!"))
    given = pair("Tea?\n", "Tea,  of course.", "Coffee.", history=talk, system_prompt="Be kind.", preferred="a")
    added = rating.add_pairs([given])
    assert (added.added, added.known, added.identical) == (1, 0, 0)
    (stored,) = rating.ballots().pairs
    assert stored.id == added.ids[0] == pair_identity("Tea?", "Coffee.", "Tea, of course.", talk, "Be kind.")
    # "Coffee." sorts before "Tea": the answers are swapped, and everything that belongs to them
    assert (stored.prompt, stored.answer_1, stored.answer_2) == ("Tea?\n", "Coffee.", "Tea,  of course.")
    assert (stored.origin_1, stored.origin_2, stored.preferred) == (ADAPTER_ORIGIN, BASE_ORIGIN, "2")
    assert (stored.history, stored.system_prompt, stored.source) == (talk, "Be kind.", "batch")
    assert not stored.calibration
    assert not stored.retired


def test_the_same_pair_is_stored_once_however_it_is_written(rating: RatingService) -> None:
    cafe = "Café?"
    first = rating.add_pairs([pair(cafe), pair(cafe)])
    assert (first.added, first.known, len(first.ids)) == (1, 1, 1)
    again = rating.add_pairs([pair(f" {unicodedata.normalize('NFD', cafe)}\n", "Coffee. ", "\tTea.")])
    assert (again.added, again.known, again.ids) == (0, 1, first.ids)
    # another conversation, another pair: what came before counts
    other = rating.add_pairs([pair(cafe, system_prompt="Be rude."), pair(cafe, history=(Message("user", "Hm."),))])
    assert (other.added, len(rating.ballots().pairs)) == (2, 3)


def test_identical_answers_never_become_a_pair(rating: RatingService) -> None:
    added = rating.add_pairs([pair(a="So  be it.", b="So be\nit. "), pair()])
    assert (added.added, added.identical, len(added.ids)) == (1, 1, 1)


def test_identity_is_a_known_hash() -> None:
    import hashlib

    told = '["", [], "q", ["a b", "c"]]'
    assert pair_identity("q", "c", "a  b") == hashlib.sha256(told.encode()).hexdigest()[:24]
    assert pair_identity("q", "a", "b") == pair_identity(" q ", "a", "b") != pair_identity("Q", "a", "b")
    assert normalised("a\u00a0\u2003b\r\nc") == "a b c"


def test_many_pairs_keep_their_order_and_share_one_chat(rating: RatingService) -> None:
    added = rating.add_pairs(new_pairs(450))
    assert added.added == 450
    assert [p.prompt for p in rating.ballots().pairs] == [f"question {i}" for i in range(450)]
    assert [p.id for p in rating.ballots().pairs] == list(added.ids)
    with rating.store().read() as connection:
        assert len(connection.execute(select(tables.chats)).all()) == 1


def test_an_unknown_ratio_is_none(rating: RatingService) -> None:
    unknown = dataclasses.replace(ADAPTER_ORIGIN, ratio=math.nan)
    rating.add_pairs([NewPair("q", "a", "b", unknown, BASE_ORIGIN, "import")])
    assert rating.ballots().pairs[0].origin_1.ratio is None


# ---- serving


def test_refresh_gives_the_same_pair_until_it_is_voted_on(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(30))
    anna, bert = somebody(rating), somebody(rating, "Bert")
    first = served_to(rating, anna)
    for _ in range(3):
        press(rating, bert, served_to(rating, bert), "left")
    others = [p.id for p in rating.ballots().pairs if p.id != first.pair_id]
    rating.set_calibration(others[:2], True)
    assert rating.serve(anna) == first
    press(rating, anna, first, "skip")
    assert served_to(rating, anna).pair_id != first.pair_id


def test_nobody_rates_a_pair_twice_and_everybody_gets_all(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(12))
    anna = somebody(rating)
    seen = press_until_done(rating, anna)
    assert len({served.pair_id for served in seen}) == len(seen) == 12
    assert rating.serve(anna) is None
    assert rating.progress(anna).own == rating.progress(anna).own_total == 12


def test_calibration_first_then_fewest_votes(rating: RatingService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servings, "PATIENCE_S", 0.0)  # each leaves with a pair before them
    ids = rating.add_pairs(new_pairs(12)).ids
    rating.set_calibration(ids[3:6], True)
    for number in range(5):
        rater = somebody(rating, f"rater {number}")
        seen = []
        for _ in range(6):
            served = served_to(rating, rater)
            seen.append(served)
            press(rating, rater, served, "tie")
        assert {served.pair_id for served in seen[:3]} == set(ids[3:6])
        assert [served.calibration for served in seen] == [True] * 3 + [False] * 3
        others = Counter({pair_id: 0 for pair_id in ids if pair_id not in ids[3:6]})
        others.update(v.pair_id for v in rating.ballots().votes if v.pair_id not in ids[3:6])
        # 3 votes each on the 9 others: never is one two votes ahead of another
        assert max(others.values()) - min(others.values()) <= 1
    assert_counters_are_right(rating)


def test_a_skip_does_not_count_as_a_vote_on_the_pair(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(2))
    anna, bert, cleo = (somebody(rating, name) for name in ("Anna", "Bert", "Cleo"))
    skipped = served_to(rating, anna)
    press(rating, anna, skipped, "skip")
    voted = served_to(rating, anna)
    press(rating, anna, voted, "left")
    # the skipped one has fewest votes: it comes first to everybody else
    assert served_to(rating, bert).pair_id == served_to(rating, cleo).pair_id == skipped.pair_id
    assert rating.progress(anna) == dataclasses.replace(rating.progress(None), own=2)
    assert rating.progress(None).votes == 1


def test_forty_raters_spread_out(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(60))
    first = Counter(served_to(rating, somebody(rating, f"rater {n}")).pair_id for n in range(40))
    assert len(first) >= 30
    assert max(first.values()) <= 2


def test_a_pair_before_raters_counts_as_voted_on_for_a_while(
    rating: RatingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = set(rating.add_pairs(new_pairs(6)).ids)
    anna = somebody(rating)
    for _ in range(5):
        press(rating, anna, served_to(rating, anna), "left")
    last = served_to(rating, anna).pair_id
    others = [served_to(rating, somebody(rating, f"rater {n}")).pair_id for n in range(10)]
    # the last without a vote lies before Anna: as good as any with one
    assert Counter(others)[last] <= 3
    assert set(others) | {last} == ids
    monkeypatch.setattr(servings, "PATIENCE_S", 0.0)
    assert {served_to(rating, somebody(rating, f"late {n}")).pair_id for n in range(5)} == {last}


def test_sides_are_balanced_for_raters_and_for_pairs_and_cannot_be_foretold() -> None:
    secret = b"fixed for the test"
    lefts = [[tokens.left_answer(secret, f"rater{r}", f"pair{p}") == 1 for p in range(60)] for r in range(200)]
    total = sum(map(sum, lefts))
    n = 60 * 200
    assert abs(total - n / 2) < 4 * math.sqrt(n / 4)
    for row in lefts:
        assert abs(sum(row) - 30) < 4.5 * math.sqrt(60 / 4)
    for column in zip(*lefts, strict=True):
        assert abs(sum(column) - 100) < 4.5 * math.sqrt(200 / 4)
    other = [tokens.left_answer(b"another secret", "rater0", f"pair{p}") == 1 for p in range(60)]
    assert other != lefts[0]


def test_the_side_shown_is_the_side_recorded(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(20))
    anna = somebody(rating)
    seen = {served.pair_id: served for served in press_until_done(rating, anna, "left")}
    ballots = rating.ballots()
    pairs = {p.id: p for p in ballots.pairs}
    assert {vote.left for vote in ballots.votes} == {1, 2}
    for vote in ballots.votes:
        stored, shown = pairs[vote.pair_id], seen[vote.pair_id]
        assert (shown.left, shown.right)[:: 1 if vote.left == 1 else -1] == (stored.answer_1, stored.answer_2)
        assert vote.choice == str(vote.left)  # the left one was pressed
    with rating.store().read() as connection:
        rows = connection.execute(select(tables.servings.c.pair_id, tables.servings.c.left_answer))
        assert dict(iter(rows)) == {vote.pair_id: vote.left for vote in ballots.votes}  # type: ignore[arg-type]


def test_a_retired_pair_is_served_no_more_and_keeps_its_votes(rating: RatingService) -> None:
    ids = rating.add_pairs(new_pairs(3)).ids
    anna, bert = somebody(rating), somebody(rating, "Bert")
    voted = served_to(rating, anna)
    press(rating, anna, voted, "left")
    waiting = served_to(rating, anna)
    rating.retire([voted.pair_id, waiting.pair_id], True)
    left_over = next(i for i in ids if i not in (voted.pair_id, waiting.pair_id))
    assert served_to(rating, anna).pair_id == served_to(rating, bert).pair_id == left_over
    with pytest.raises(ConflictError, match="not rated any more"):
        press(rating, anna, waiting, "left")
    assert rating.progress(anna) == dataclasses.replace(rating.progress(None), own=0)
    assert (rating.progress(anna).pairs, rating.progress(anna).votes) == (1, 1)
    assert rating.undo(anna) is None  # its vote cannot be given again, so it is not taken back
    rating.retire([voted.pair_id], False)
    assert rating.progress(anna).own == 1
    with pytest.raises(NotFoundError, match="no pair 'nothing'"):
        rating.retire([ids[0], "nothing"], True)
    with pytest.raises(NotFoundError, match="no pair"):
        rating.set_calibration(["\ud800\0'; DROP TABLE votes; --"], True)


# ---- rules and decisions


def test_rules(rating: RatingService) -> None:
    assert rating.rules() == RatingRules(GUIDELINES, 3, False, True, two_decide=True)
    for word in ("Helpful", "Truthful", "Harmless", "Tie", "Both bad", "Skip"):
        assert word in GUIDELINES
    mine = RatingRules("# Mine\n<b>&", min_votes=5, reveal=True, open=False)
    rating.set_rules(mine)
    rating.set_rules(mine)
    assert rating.rules() == mine
    for wrong, said in [
        (dataclasses.replace(mine, min_votes=4), "min_votes is 4; it must be odd"),
        (dataclasses.replace(mine, min_votes=0), "min_votes is 0"),
        (dataclasses.replace(mine, min_votes=101), "min_votes is 101"),
        (dataclasses.replace(mine, min_votes=3.0), "min_votes is 3.0"),  # type: ignore[arg-type]
        (dataclasses.replace(mine, min_votes=True), "min_votes is True"),
        (dataclasses.replace(mine, guidelines="x" * 20_001), "guidelines is 20,001 characters"),
        (dataclasses.replace(mine, guidelines="\0"), "guidelines holds a NUL"),
    ]:
        with pytest.raises(InputError, match=said):
            rating.set_rules(wrong)
    assert rating.rules() == mine
    rating.set_rules(dataclasses.replace(mine, guidelines=""))
    assert rating.rules().guidelines == ""


@pytest.mark.parametrize(
    ("choices", "min_votes", "winner"),
    [
        ("1 1 2", 3, "1"),
        ("2 2 1", 3, "2"),
        ("1 1", 3, None),  # too few
        ("1 1 skip skip", 3, None),  # skips are no votes
        ("1 1 1 skip", 3, "1"),
        ("1 1 2 tie", 3, None),  # 2 of 4 is not more than half
        ("1 1 tie both_bad", 3, None),
        ("1 1 1 tie both_bad", 3, "1"),  # 3 of 5
        ("1 1 2 2 2", 5, "2"),
        ("1 2 tie", 3, None),
        ("tie tie tie", 3, None),
        ("both_bad both_bad both_bad", 1, None),
        ("1", 1, "1"),
        ("skip", 1, None),
        ("", 1, None),
    ],
)
def test_decide_by_hand(choices: str, min_votes: int, winner: str | None) -> None:
    stored = AnswerPair("p", "q", "a", "b", BASE_ORIGIN, ADAPTER_ORIGIN, "batch", 0.0)
    votes = tuple(Vote("p", f"r{n}", choice, 1, 1.0, 0.0, 0.0) for n, choice in enumerate(choices.split()))  # type: ignore[arg-type]
    (decision,) = decide(Ballots((stored,), votes, (), RatingRules("", min_votes)))
    said = Counter(choices.split())
    assert decision.winner == winner
    assert (decision.for_1, decision.for_2, decision.ties) == (said["1"], said["2"], said["tie"])
    assert (decision.both_bad, decision.skips) == (said["both_bad"], said["skip"])
    assert decision.votes == sum(said.values()) - said["skip"]


def test_decisions_and_progress_of_a_small_vote(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(2))
    for number in range(3):
        rater = somebody(rating, f"rater {number}")
        while (served := rating.serve(rater)) is not None:
            yes = "left" if served.left.startswith("yes") else "right"
            press(rating, rater, served, yes if served.prompt.endswith("0") else "tie")
    decided, tied = rating.decisions()
    # "no, 0" sorts before "yes, 0"
    assert (decided.winner, decided.for_2, tied.winner, tied.ties) == ("2", 3, None, 3)
    progress = rating.progress(None)
    assert (progress.own, progress.own_total, progress.pairs) == (0, 2, 2)
    assert (progress.decided, progress.votes, progress.raters) == (2, 6, 3)


def test_two_people_decide_a_pair_where_the_operator_lets_them(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(2))
    for number in range(2):
        rater = somebody(rating, f"rater {number}")
        while (served := rating.serve(rater)) is not None:
            agreeing = served.prompt.endswith("0") or number == 0
            press(rating, rater, served, "left" if served.left.startswith("yes") is agreeing else "right")
    agreed, split = rating.decisions()
    assert (agreed.winner, split.winner) == ("2", None), "one vote each is a tie"
    assert rating.progress(None).decided == 2
    rating.set_rules(dataclasses.replace(rating.rules(), two_decide=False))
    assert [decision.winner for decision in rating.decisions()] == [None, None]
    assert rating.progress(None).decided == 0
    rating.set_rules(dataclasses.replace(rating.rules(), two_decide=True))
    third = somebody(rating, "third")
    press(rating, third, served_to(rating, third), "tie")
    assert rating.ballots().min_votes == 3, "three people vote now"


def test_reasons_go_with_a_vote_and_come_back_with_it(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(1))
    anna = somebody(rating)
    served = served_to(rating, anna)
    with pytest.raises(InputError, match="reasons names 'nice'"):
        rating.vote(anna, served.pair_id, served.token, "left", 1.0, ["nice"])
    rating.vote(anna, served.pair_id, served.token, "left", 1.0, ["style", "helpful", "style"])
    assert rating.ballots().votes[0].reasons == ("helpful", "style")
    back = rating.undo(anna)
    assert back is not None
    assert back.reasons == ("helpful", "style")
    press(rating, anna, back, "left")
    assert rating.ballots().votes[0].reasons == ()
