"""What the votes say, against hand-worked cases, published examples and independent implementations."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import optimize, stats

from studio.errors import InputError
from studio.services import intervals
from studio.services.agreement import measure_agreement
from studio.services.bradley_terry import CENTRE, POINTS, fit, rate_players
from studio.services.intervals import Interval, cluster_share, percentiles, resampled_sums, student, wilson
from studio.services.vote_care import Pace
from studio.services.vote_filters import VoteFilters, filtered
from studio.services.vote_stats import Match, VoteReport, name_players, report, votes_to_settle
from studio.votes import AnswerPair, Ballots, Choice, Origin, PairSource, Rater, RatingRules, Vote

BASE = Origin("base", "Base", model="tiny")
RED, BLUE, GREEN = (Origin("adapter", name, adapter_hash=name.lower()) for name in ("Red", "Blue", "Green"))


class Box:
    """A ballot box to be filled by hand."""

    def __init__(self) -> None:
        self.pairs: list[AnswerPair] = []
        self.votes: list[Vote] = []

    def pair(
        self, one: Origin, two: Origin, prompt: str | None = None, source: PairSource = "batch", **more: bool
    ) -> str:
        number = len(self.pairs)
        text = prompt if prompt is not None else f"Question {number}?"
        found = AnswerPair(
            f"p{number}", text, f"{number} one", f"{number} two", one, two, source, float(number), **more
        )
        self.pairs.append(found)
        return found.id

    def vote(self, pair: str, choice: Choice, rater: str = "", seconds: float = 5.0, left: int | None = None) -> None:
        number = len(self.votes)
        side = left if left is not None else 1 + number % 2
        rater = rater or f"r{sum(vote.pair_id == pair for vote in self.votes)}"
        self.votes.append(Vote(pair, rater, choice, side, seconds, 100.0 + number, 100.0 + number))  # type: ignore[arg-type]

    def ballots(self) -> Ballots:
        raters = sorted({vote.rater_id for vote in self.votes})
        return Ballots(
            tuple(self.pairs), tuple(self.votes), tuple(Rater(r, f"Name of {r}") for r in raters), RatingRules("")
        )

    def report(self, **filters: object) -> VoteReport:
        return report(self.ballots(), VoteFilters(**filters))  # type: ignore[arg-type]


def duel(*prompts: Sequence[Choice], one: Origin = RED, two: Origin = BASE) -> Match:
    """Red against the base: a pair on a prompt of its own for each list of choices ("1" is Red)."""
    box = Box()
    for choices in prompts:
        pair = box.pair(one, two)
        for choice in choices:
            box.vote(pair, choice)
    (match,) = box.report().matches
    return match


# -- intervals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (81, 263), (3, 3)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
    ours = wilson(k, n)
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_of_nothing_is_nothing() -> None:
    assert wilson(0, 0) is None


@pytest.mark.parametrize("freedom", [5, 6, 9, 30, 1000])
def test_students_quantile_is_scipys(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=5e-4)


def test_resampled_sums_draw_whole_clusters_with_replacement() -> None:
    columns = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    sums = resampled_sums(columns, resamples=20_000)
    assert (sums[:, 1] == 10 * sums[:, 0]).all()  # the columns of a cluster stay together
    assert set(sums[:, 0]) == {float(a + b + c) for a, b, c in itertools.product((1, 2, 4), repeat=3)}
    assert (sums[:, 0] == 3.0).mean() == pytest.approx(1 / 27, abs=0.005)


def test_resampling_in_portions_is_resampling(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.arange(30.0).reshape(10, 3)
    whole = resampled_sums(columns, resamples=50)
    monkeypatch.setattr(intervals, "_AT_ONCE", 70)
    assert (resampled_sums(columns, resamples=50) == whole).all()


def test_the_bootstraps_error_is_the_sandwich_one() -> None:
    """A ratio's standard error over clusters has a closed form: sqrt(sum((hits - share * votes)^2)) / sum(votes)."""
    rng = np.random.default_rng(7)
    votes = rng.integers(1, 6, 80).astype(float)
    hits = rng.binomial(votes.astype(int), rng.beta(2, 2, 80)).astype(float)
    share = hits.sum() / votes.sum()
    closed = math.sqrt(((hits - share * votes) ** 2).sum()) / votes.sum()
    found = cluster_share(hits, votes)
    assert found.method == "bootstrap"
    assert found.error == pytest.approx(closed, rel=0.05)
    assert found.interval is not None
    assert (found.interval.high - found.interval.low) / 2 == pytest.approx(1.96 * closed, rel=0.1)


def test_the_interval_holds_the_truth_about_95_times_in_100() -> None:
    """And counting votes as independent would not: 5 votes a prompt that lean the same way."""
    rng = np.random.default_rng(11)
    trials, held, naive = 400, 0, 0
    for _ in range(trials):
        hits = rng.binomial(5, rng.beta(1.2, 0.8, 20)).astype(float)  # the true rate is .6
        found = cluster_share(hits, np.full(20, 5.0)).interval
        counted = wilson(hits.sum(), 100)
        assert found is not None
        assert counted is not None
        held += found.holds(0.6)
        naive += counted.holds(0.6)
    assert 0.92 <= held / trials <= 0.98
    assert naive / trials < 0.85


def test_a_resample_without_a_value_never_narrows_an_interval() -> None:
    values = np.arange(1000.0)
    full, fewer = percentiles(values, 40), percentiles(values, 40, missing=10)
    assert full is not None
    assert fewer is not None
    assert fewer.low < full.low
    assert fewer.high > full.high
    assert percentiles(values, 40, missing=30) is None
    assert percentiles(values, 5) is None


# -- who is preferred --------------------------------------------------------------------------------------------------


def test_counts_and_rate_by_hand() -> None:
    match = duel(["1", "1", "2", "skip"], ["tie", "both_bad"], ["1"])
    assert (match.a.label, match.b.label) == ("Red", "Base")
    assert (match.wins, match.losses, match.ties, match.both_bad, match.skips) == (3, 1, 1, 1, 1)
    assert match.rate == pytest.approx((3 + 0.5 + 0.5) / 6)
    assert (match.votes, match.pairs, match.prompts, match.raters) == (6, 3, 3, 3)


def test_the_order_of_a_pairs_answers_does_not_matter() -> None:
    box = Box()
    box.vote(box.pair(RED, BASE), "1")
    box.vote(box.pair(BASE, RED), "2")
    (match,) = box.report().matches
    assert (match.a.label, match.wins, match.losses) == ("Red", 2, 0)


def test_a_clear_preference_is_said_on_either_side() -> None:
    prompts = [["1", "1", "2"]] * 20 + [["1", "1", "1"]] * 20
    assert duel(*prompts).verdict == "a"
    flipped = [["2" if choice == "1" else "1" for choice in choices] for choices in prompts]
    assert duel(*flipped).verdict == "b"  # type: ignore[arg-type]


def test_an_interval_that_holds_one_half_is_open() -> None:
    match = duel(*[["1"]] * 11, *[["2"]] * 9)
    assert match.verdict == "open"
    assert match.interval is not None
    assert match.interval.holds(0.5)


def test_pairs_of_one_prompt_are_one_cluster() -> None:
    box = Box()
    for number in range(12):
        box.vote(box.pair(RED, BASE, prompt=[" the SAME ", "The same", "Another"][number % 3]), "1")
    (match,) = box.report().matches
    assert (match.pairs, match.prompts) == (12, 2)
    assert match.method == "no variation"
    # 8 votes on one prompt and 4 on the other: Kish's effective number is 144 / 80 = 1.8
    bound = wilson(1.8, 1.8)
    assert bound is not None
    assert match.interval == Interval(pytest.approx(bound.low), 1.0)  # type: ignore[arg-type]
    assert match.verdict == "open"


def test_one_prompt_says_nothing_of_others() -> None:
    match = duel(["1"] * 30)
    assert (match.rate, match.interval, match.verdict, match.method) == (1.0, None, "open", "one cluster")
    assert (match.more, match.many) == (None, False)


def test_no_votes_and_only_skips_have_no_rate() -> None:
    for match in (duel([]), duel(["skip", "skip"])):
        assert (match.rate, match.interval, match.verdict, match.method) == (None, None, "none", "no votes")
        assert match.more is None


def test_all_wins_claim_no_certainty() -> None:
    match = duel(*[["1", "1", "1"]] * 10)
    theirs = stats.binomtest(10, 10).proportion_ci(method="wilson")
    assert match.method == "no variation"
    assert match.interval is not None
    assert (match.interval.low, match.interval.high) == pytest.approx((theirs.low, 1.0))
    assert match.verdict == "a"
    assert duel(*[["1", "1", "1"]] * 3).verdict == "open"  # three prompts out of three happen by chance


def test_nothing_but_ties_is_no_preference() -> None:
    match = duel(*[["tie", "both_bad"]] * 30)
    assert (match.rate, match.verdict, match.many) == (0.5, "open", True)


def test_few_prompts_get_the_careful_bound() -> None:
    match = duel(["1", "1"], ["1", "2"], ["1", "1"], ["1", "1"])
    theirs = wilson(3.5, 4)
    assert (match.method, match.interval) == ("few clusters", theirs)


def test_votes_to_settle_settle_it() -> None:
    """By simulation: with as many votes in all as are asked for, four studies in five exclude one half."""
    rate, votes = 0.6, 50
    more = votes_to_settle(rate, math.sqrt(rate * (1 - rate) / votes), votes, votes)
    assert more is not None
    assert more == pytest.approx(0.24 * (2.8016 / 0.1) ** 2 - votes, rel=0.05)  # the textbook's 188 in all
    rng = np.random.default_rng(3)
    settled = 0
    for _ in range(300):
        found = cluster_share(rng.binomial(1, rate, votes + more).astype(float), np.ones(votes + more)).interval
        assert found is not None
        settled += found.low > 0.5
    assert 0.72 <= settled / 300 <= 0.88


def test_a_rate_near_one_half_asks_for_a_great_many() -> None:
    assert votes_to_settle(0.51, 0.05, 100, 50) is None
    assert votes_to_settle(0.53, 0.3, 100, 50) is None  # more than ten thousand
    match = duel(*[["1"], ["2"]] * 20)
    assert (match.more, match.many) == (None, True)


def test_more_votes_are_asked_for_while_open_only() -> None:
    open_ = duel(*[["1"]] * 12, *[["2"]] * 8)
    assert open_.more is not None
    assert 100 <= open_.more <= 300
    assert duel(*[["1"]] * 30, *[["2"]] * 3).more is None


def test_two_samples_of_one_player_are_no_match_and_are_counted() -> None:
    box = Box()
    box.vote(box.pair(RED, RED), "1")
    box.vote(box.pair(RED, BASE), "1")
    found = box.report()
    assert (found.same_player, found.votes, [m.votes for m in found.matches]) == (1, 2, [1])


def test_a_player_keeps_its_newest_name_and_names_stay_apart() -> None:
    box = Box()
    old = dataclasses.replace(RED, label="Old")
    box.pair(old, BASE)
    box.pair(BASE, RED)
    box.pair(dataclasses.replace(BLUE, label="Base"), BASE)
    players = name_players(box.ballots().pairs)
    assert [player.label for player in players.values()] == ["Base (blue)", "Red", "Base (tiny)"]


def test_numbers_stay_the_same_whatever_the_order_of_votes() -> None:
    box = Box()
    for number in range(30):
        pair = box.pair(RED, BASE)
        for _ in range(3):
            box.vote(pair, "1" if (number * 7) % 5 < 3 else "2")
    ballots = box.ballots()
    mixed = list(ballots.votes)
    random.Random(1).shuffle(mixed)
    again = report(dataclasses.replace(ballots, votes=tuple(mixed)))
    assert again.matches == report(ballots).matches
    assert again.agreement == report(ballots).agreement


# -- ratings -----------------------------------------------------------------------------------------------------------


def by_scipy(wins: np.ndarray) -> np.ndarray:
    """The same likelihood, maximised by somebody else."""

    def minus_log_likelihood(free: np.ndarray) -> float:
        strengths = np.append(free, 0.0)
        return float((wins * np.log1p(np.exp(strengths[None, :] - strengths[:, None]))).sum())

    found = optimize.minimize(minus_log_likelihood, np.zeros(len(wins) - 1), method="BFGS", options={"gtol": 1e-10})
    strengths = np.append(found.x, 0.0)
    return strengths - strengths.mean()


def hunter_mm(wins: np.ndarray) -> np.ndarray:
    """Hunter (2004), eq. 3, until it stands still."""
    games, won, gamma = wins + wins.T, wins.sum(axis=1), np.ones(len(wins))
    for _ in range(20_000):
        gamma = won / (games / (gamma[:, None] + gamma[None, :])).sum(axis=1)
        gamma /= np.exp(np.log(gamma).mean())
    return np.log(gamma)


def test_two_players_have_the_log_odds() -> None:
    (found,) = fit(np.array([[[0.0, 30.0], [10.0, 0.0]]]))
    assert found[0] - found[1] == pytest.approx(math.log(3), abs=1e-10)
    assert found.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ratings_are_those_of_scipy_and_of_hunters_algorithm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wins = rng.integers(1, 12, (5, 5)) / 2
    np.fill_diagonal(wins, 0.0)
    wins[0, 3] = wins[3, 0] = 0.0  # these two never met
    (found,) = fit(wins[None])
    assert found == pytest.approx(by_scipy(wins), abs=1e-5)
    assert found == pytest.approx(hunter_mm(wins), abs=1e-8)


def test_a_lopsided_tournament_still_converges() -> None:
    wins = np.array([[0, 4000.0, 0, 0], [1, 0, 4000, 0], [0, 1, 0, 4000], [0, 0, 1, 0]])
    (found,) = fit(wins[None])
    # a chain: every step is its own log odds
    assert found[:-1] - found[1:] == pytest.approx(np.full(3, math.log(4000)), abs=1e-6)


def chain(prompts: int, upsets: int) -> Box:
    """Red beats blue beats the base beats nobody, but for an upset on some prompts."""
    box = Box()
    for number in range(prompts):
        for better, worse in ((RED, BLUE), (BLUE, BASE), (RED, BASE)):
            box.vote(box.pair(better, worse, prompt=f"Q{number}"), "2" if number < upsets else "1")
    return box


def test_three_players_are_rated_with_intervals() -> None:
    standings = chain(40, 12).report().standings
    assert standings is not None
    assert standings.connected
    (group,) = standings.groups
    assert [rating.player for rating in group.ratings] == ["adapter:red", "adapter:blue", "base:tiny"]
    assert sum(rating.points for rating in group.ratings) / 3 == pytest.approx(CENTRE)
    assert (group.votes, group.prompts) == (120, 40)
    for rating in group.ratings[::2]:
        assert rating.interval is not None
        assert rating.interval.low < rating.points < rating.interval.high
    wins = np.array([[0, 28.0, 28], [12, 0, 28], [12, 12, 0]])
    assert [r.points for r in group.ratings] == pytest.approx(CENTRE + POINTS * by_scipy(wins), abs=1e-2)


def test_rating_intervals_hold_the_truth() -> None:
    """Four players of known strength, 60 prompts with one vote on each pair: coverage near 95 %."""
    rng = np.random.default_rng(5)
    truth = np.array([0.8, 0.2, -0.2, -0.8])
    held = total = 0
    for _ in range(40):
        wins = np.zeros((60, 4, 4))
        for i, j in itertools.combinations(range(4), 2):
            first = rng.random(60) < 1 / (1 + math.exp(truth[j] - truth[i]))
            wins[:, i, j], wins[:, j, i] = first, ~first
        (group,) = rate_players("abcd", wins).groups
        for rating in group.ratings:
            assert rating.interval is not None
            held += rating.interval.holds(CENTRE + POINTS * truth["abcd".index(rating.player)])
            total += 1
    assert 0.9 <= held / total <= 0.99


def test_a_player_that_won_everything_gets_no_number() -> None:
    box = chain(20, 8)
    for number in range(20):
        box.vote(box.pair(GREEN, RED, prompt=f"Q{number}"), "1")
    standings = box.report().standings
    assert standings is not None
    assert not standings.connected
    assert [(one.player, one.reason) for one in standings.unrated] == [
        ("adapter:green", "has won every vote: no finite rating fits that")
    ]
    (group,) = standings.groups
    assert {rating.player for rating in group.ratings} == {"adapter:red", "adapter:blue", "base:tiny"}
    # what green did to red does not move the others: the limit of the likelihood
    alone = chain(20, 8).report().standings
    assert alone is not None
    assert [r.points for r in group.ratings] == pytest.approx([r.points for r in alone.groups[0].ratings])


def test_players_that_never_met_stand_in_groups_of_their_own() -> None:
    box = Box()
    for number in range(8):
        box.vote(box.pair(RED, BLUE), "1" if number % 4 else "2")
        box.vote(box.pair(GREEN, BASE), "2" if number % 4 else "tie")
    standings = box.report().standings
    assert standings is not None
    assert [[r.player for r in group.ratings] for group in standings.groups] == [
        ["adapter:red", "adapter:blue"],
        ["base:tiny", "adapter:green"],
    ]
    assert not standings.unrated
    assert not standings.connected


def test_a_straight_order_rates_nobody() -> None:
    standings = chain(20, 0).report().standings
    assert standings is not None
    assert not standings.groups
    assert [one.reason.split(":")[0] for one in standings.unrated] == [
        "beats one part of the others always and loses to the rest always, so nothing ties its rating to theirs",
        "has won every vote",
        "has lost every vote",
    ]


def test_ratings_without_an_interval_where_resamples_come_apart() -> None:
    standings = chain(20, 1).report().standings  # a resample without that one upset has no finite rating: 36 % of them
    assert standings is not None
    (group,) = standings.groups
    assert group.unbounded == pytest.approx(2000 * (1 - 1 / 20) ** 20, rel=0.1)
    assert all(rating.interval is None for rating in group.ratings)


def test_two_players_need_no_rating() -> None:
    box = Box()
    box.vote(box.pair(RED, BASE), "1")
    box.pair(BLUE, BASE)  # no vote yet
    assert box.report().standings is None


# -- agreement ---------------------------------------------------------------------------------------------------------


def rated(*units: str) -> Box:
    """A pair for each unit; its letters are votes by different raters: 1, 2, t(ie), b(oth bad), s(kip)."""
    said: dict[str, Choice] = {"1": "1", "2": "2", "t": "tie", "b": "both_bad", "s": "skip"}
    box = Box()
    for unit in units:
        pair = box.pair(RED, BASE)
        for letter in unit:
            box.vote(pair, said[letter])
    return box


def test_alpha_of_krippendorffs_published_example() -> None:
    """Krippendorff (2011), "Computing Krippendorff's alpha-reliability", A: two observers, ten units, binary: .095.
    By hand: 4 of 10 units disagree, the values occur 14 and 6 times: 1 - 19 * 4 / (14 * 6)."""
    meg, owen = "0100000010", "1110010000"
    said = {"0": "1", "1": "2"}
    found = measure_agreement(rated(*(said[a] + said[b] for a, b in zip(meg, owen, strict=True))).votes)
    assert found.alpha == pytest.approx(1 - 19 * 4 / (14 * 6))
    assert found.alpha == pytest.approx(0.095, abs=5e-4)
    assert (found.pairs, found.votes, found.raters, found.agreeing, found.couples) == (10, 20, 2, 6, 10)
    assert found.raw == pytest.approx(0.6)
    assert found.interval is not None
    assert found.interval.low < 0.095 < found.interval.high


def test_alpha_with_four_values_and_missing_votes() -> None:
    """The worked example of Wikipedia's article: 15 units, 3 coders, missing values, nominal: .691. A unit with one vote
    counts for nothing, and neither does a skip."""
    coders = ("*****34121133*3", "1*213343*******", "**21344*21133*4")
    said = {"1": "1", "2": "2", "3": "t", "4": "b", "*": "s"}
    units = ["".join(said[coder[n]] for coder in coders) for n in range(15)]
    found = measure_agreement(rated(*units).votes)
    assert found.alpha == pytest.approx(0.691358, abs=1e-6)
    assert (found.pairs, found.votes) == (12, 26)
    agreeing = sum(a == b for unit in units for a, b in itertools.combinations(unit.replace("s", ""), 2))
    couples = sum(math.comb(len(unit.replace("s", "")), 2) for unit in units)
    assert (found.agreeing, found.couples) == (agreeing, couples)


def test_alphas_interval_is_that_of_a_plain_bootstrap() -> None:
    import krippendorff

    rng = np.random.default_rng(2)
    units = ["".join(rng.choice(list("12tb"), p=[0.7, 0.15, 0.1, 0.05] if n % 2 else [0.2, 0.6, 0.1, 0.1], size=3)) for n in range(60)]  # fmt: skip
    table = np.array([[unit.count(letter) for letter in "12tb"] for unit in units])
    found = measure_agreement(rated(*units).votes)
    drawn = [
        krippendorff.alpha(value_counts=table[rng.integers(60, size=60)], level_of_measurement="nominal")
        for _ in range(1500)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.interval is not None
    # ours is the expanded one: a little wider
    assert found.interval.low == pytest.approx(low, abs=0.02)
    assert found.interval.high == pytest.approx(high, abs=0.02)


def test_agreement_that_cannot_be_measured_says_so() -> None:
    nobody = measure_agreement(rated("1", "2", "1s").votes)
    assert (nobody.alpha, nobody.raw, nobody.pairs) == (None, None, 0)
    assert "nothing to compare" in nobody.reading
    same = measure_agreement(rated(*["111"] * 10).votes)
    assert (same.alpha, same.interval, same.raw) == (None, None, 1.0)
    assert "not defined" in same.reading
    perfect = measure_agreement(rated(*["111"] * 10, *["222"] * 10).votes)
    assert (perfect.alpha, perfect.interval) == (1.0, None)
    few = measure_agreement(rated("11", "12", "22").votes)
    assert few.alpha is not None
    assert few.interval is None


def test_agreement_does_not_depend_on_sides() -> None:
    box = rated("11", "22", "12", "2t", "11", "22")
    turned = [dataclasses.replace(vote, left=1 if vote.left == 2 else 2) for vote in box.votes]
    assert measure_agreement(turned) == measure_agreement(box.votes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (["11"] * 20 + ["22"] * 20, "reliable"),
        (["11"] * 20 + ["22"] * 20 + ["12"] * 5, "tentative"),
        (["11"] * 20 + ["22"] * 20 + ["12"] * 20, "below"),
        (["12"] * 20, "no better than chance"),
    ],
)
def test_alpha_is_read_by_its_conventions(units: list[str], words: str) -> None:
    assert words in measure_agreement(rated(*units).votes).reading


# -- sides, raters, pace -----------------------------------------------------------------------------------------------


def test_the_left_sides_share_by_hand() -> None:
    box = Box()
    pair = box.pair(RED, BASE)
    for choice, left in [("1", 1), ("1", 1), ("2", 2), ("2", 1), ("tie", 1), ("both_bad", 2), ("skip", 1)]:
        box.vote(pair, choice, left=left)  # type: ignore[arg-type]
    sides = box.report().sides
    assert (sides.left, sides.votes, sides.share) == (3, 4, 0.75)
    assert sides.interval == wilson(3, 4)
    assert not sides.off


@pytest.mark.parametrize(("left", "off"), [(50, False), (59, False), (61, True), (39, True)])
def test_a_side_that_wins_too_often_is_off(left: int, off: bool) -> None:
    box = Box()
    for number in range(100):
        box.vote(box.pair(RED, BASE), "1", left=1 if number < left else 2)
    assert box.report().sides.off is off


def test_raters_and_their_votes() -> None:
    box = Box()
    for number, (rater, choice, seconds) in enumerate(
        [("ann", "1", 2.0), ("ann", "2", 4.0), ("ann", "skip", 9.0), ("bob", "tie", 0.4), ("cat", "skip", 1.0)]
    ):
        box.vote(box.pair(RED, BASE), choice, rater, seconds, left=1 + number % 2)  # type: ignore[arg-type]
    ann, bob, cat = box.report().raters
    assert (ann.name, ann.votes, ann.skips, ann.seconds, ann.fast) == ("Name of ann", 2, 1, 3.0, 0)
    assert (ann.left, ann.sided) == (2, 2)
    assert (bob.votes, bob.fast, bob.sided) == (1, 1, 0)
    assert (cat.votes, cat.skips, cat.seconds) == (0, 1, None)


def test_pace_is_numpys_quartiles() -> None:
    box = Box()
    seconds = [0.5, 0.9, 1.0, 4.0, 7.0, 12.0, 300.0]
    for second in [*seconds, math.nan, math.inf, -1.0]:
        box.vote(box.pair(RED, BASE), "1", seconds=second)
    pace = box.report().pace
    assert (pace.votes, pace.untimed, pace.fast) == (7, 3, 2)
    assert (pace.lower, pace.median, pace.upper) == pytest.approx(tuple(np.percentile(seconds, [25, 50, 75])))
    assert Box().report().pace == Pace(0, 0, None, None, None, 0)


# -- filters -----------------------------------------------------------------------------------------------------------


def mixed_box() -> Box:
    box = Box()
    screen = box.pair(RED, BASE, source="compare")
    shared = box.pair(RED, BASE, calibration=True)
    file = box.pair(RED, BASE, source="import", retired=True)
    for rater in ("ann", "bob"):
        box.vote(screen, "1", rater, 5.0)
        box.vote(shared, "1", rater, 0.5)
        box.vote(file, "skip", rater, 3.0)
    box.vote(screen, "2", "cat", 0.2)
    return box


def test_no_filter_leaves_out_nothing() -> None:
    ballots = mixed_box().ballots()
    found = filtered(ballots, VoteFilters())
    assert found.ballots == ballots
    assert (found.total, found.kept, found.left_out) == (7, 7, ())


@pytest.mark.parametrize(
    ("filters", "gone"),
    [
        ({"min_votes": 2}, [("by raters with fewer than 2 votes in all", 1, 0)]),
        ({"min_seconds": 1.0}, [("faster than 1 s", 3, 0)]),
        ({"without_calibration": True}, [("on calibration pairs", 2, 0)]),
        ({"without_retired": True}, [("on retired pairs", 2, 2)]),
        ({"sources": ("batch", "import")}, [("on pairs from the screen of Compare", 3, 0)]),
        ({"without_raters": ("ann", "bob")}, [("by 2 raters left out by hand", 6, 2)]),
        ({"without_raters": ("nobody",)}, [("by 1 rater left out by hand", 0, 0)]),
        (
            {"without_calibration": True, "min_seconds": 1.0, "min_votes": 2},
            [("on calibration pairs", 2, 0), ("faster than 1 s", 1, 0), ("by raters with fewer than 2 votes in all", 0, 0)],
        ),
    ],
)  # fmt: skip
def test_each_filter_tells_what_it_leaves_out(filters: dict[str, object], gone: list[tuple[str, int, int]]) -> None:
    found = filtered(mixed_box().ballots(), VoteFilters(**filters))  # type: ignore[arg-type]
    assert [(line.reason, line.votes, line.skips) for line in found.left_out] == gone
    assert found.total == 7 == found.kept + sum(line.votes for line in found.left_out)


def test_a_report_adds_up_under_any_filters() -> None:
    for chosen in itertools.product(
        (0, 2), (0.0, 1.0), (False, True), (False, True), (("batch",), ("compare", "import"))
    ):
        found = report(mixed_box().ballots(), VoteFilters(*chosen))  # type: ignore[arg-type]
        assert found.total == found.votes + found.skips + sum(line.votes for line in found.left_out)
        assert sum(match.votes for match in found.matches) + found.same_player == found.votes
        assert sum(rater.votes for rater in found.raters) == found.votes == len(found.times)


@pytest.mark.parametrize(
    "wrong", [{"min_votes": -1}, {"min_seconds": math.nan}, {"min_seconds": -1.0}, {"sources": ("x",)}]
)
def test_a_filter_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        VoteFilters(**wrong)  # type: ignore[arg-type]


def test_an_empty_box_is_reported_empty() -> None:
    found = Box().report()
    assert (found.total, found.votes, found.matches, found.standings, found.raters) == (0, 0, (), None, ())
    assert found.sides.share is None
    assert found.agreement.alpha is None
