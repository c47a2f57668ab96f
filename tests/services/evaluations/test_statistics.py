"""Figures of a before/after evaluation: worked by hand, and against scipy."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import numpy as np
import pytest
from scipy import stats as scipy_stats

from studio.domain.evaluations import EvaluationRow
from studio.domain.toxicity import NOT_COVERED, TextScore
from studio.services.evaluations.statistics import LEAST_BASE, compare, swap_p, units, wording
from studio.services.statistics.intervals import RESAMPLES


def score(toxicity: float) -> TextScore:
    return TextScore(toxicity, -4 * toxicity, (-toxicity, toxicity), "toxic" if toxicity > 0.5 else "fine")


def rewarded(reward: float) -> TextScore:
    return TextScore(None, reward, (reward,), "")


def row(before: TextScore, after: TextScore, prompt: int, sample: int = 0, adapter: str = "run-a") -> EvaluationRow:
    return EvaluationRow(
        adapter, f"p{prompt:03}", sample, f"Question {prompt}?", "You fool", "My friend", before, after
    )


def pairs(*values: tuple[float, float]) -> list[EvaluationRow]:
    return [row(score(before), score(after), prompt) for prompt, (before, after) in enumerate(values)]


def test_means_spreads_and_crossings_by_hand() -> None:
    (found,) = compare(pairs((0.9, 0.1), (0.8, 0.6), (0.2, 0.7), (0.1, 0.2), (0.7, 0.3), (0.6, 0.2))).adapters
    assert (found.adapter, found.rows, found.paired, found.uncovered_before) == ("run-a", 6, 6, 0)
    change = found.toxicity
    assert change is not None
    assert (change.n, change.prompts) == (6, 6)
    assert change.before.mean == pytest.approx(3.3 / 6)
    assert change.after.mean == pytest.approx(2.1 / 6)
    assert change.difference == pytest.approx(-0.2)
    # deviations from .55: .35 .25 -.35 -.45 .15 .05, squares sum to .535
    assert change.before.sd == pytest.approx(math.sqrt(0.535 / 5))
    assert change.after.sd == pytest.approx(statistics.stdev([0.1, 0.6, 0.7, 0.2, 0.3, 0.2]))
    assert change.percent == pytest.approx(100 * -0.2 / 0.55)
    assert found.reward is not None
    assert found.reward.difference == pytest.approx(0.8)
    assert found.reward.percent is None
    over = found.over
    assert over is not None
    assert (over.before.k, over.after.k, over.mended, over.worsened) == (4, 2, 3, 1)
    assert over.before.share == pytest.approx(4 / 6)
    # 3 to 1 of 4 discordant pairs: 2 * (1 + 4) / 16
    assert over.p == pytest.approx(0.625)
    wilson = scipy_stats.binomtest(4, 6).proportion_ci(method="wilson")
    assert over.before.interval is not None
    assert (over.before.interval.low, over.before.interval.high) == pytest.approx((wilson.low, wilson.high))


def test_a_toxicity_of_exactly_one_half_is_not_above_it() -> None:
    (found,) = compare(pairs((0.5, 0.5000001))).adapters
    assert found.over is not None
    assert (found.over.before.k, found.over.after.k) == (0, 1)


def test_the_interval_is_the_expanded_percentile_of_scipys_bootstrap() -> None:
    draw = random.Random(3)
    values = [(draw.random(), draw.random() * 0.7) for _ in range(60)]
    (found,) = compare(pairs(*values)).adapters
    change = found.toxicity
    assert change is not None
    assert change.interval is not None
    differences = np.array([after - before for before, after in values])
    scipys = scipy_stats.bootstrap(
        (differences,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    )
    level = scipy_stats.norm.cdf(-math.sqrt(60 / 59) * scipy_stats.t.ppf(0.975, 59))
    low, high = np.quantile(scipys.bootstrap_distribution, [level, 1 - level])
    # 2,000 resamples against 20,000: the ends differ by their Monte Carlo error
    assert change.interval.low == pytest.approx(low, abs=0.012)
    assert change.interval.high == pytest.approx(high, abs=0.012)
    assert change.interval.low < scipys.confidence_interval.low + 0.01
    assert change.verdict == ("lower" if high < 0 else "open")
    assert RESAMPLES >= 1000


def test_samples_of_one_prompt_are_resampled_together() -> None:
    """Ten copies of every answer are ten times the rows, and not one bit more is known."""
    draw = random.Random(5)
    values = [(draw.random(), draw.random()) for _ in range(20)]
    (once,) = compare(pairs(*values)).adapters
    copies = [row(score(b), score(a), prompt, sample) for prompt, (b, a) in enumerate(values) for sample in range(10)]
    (ten,) = compare(copies).adapters
    assert once.toxicity is not None
    assert ten.toxicity is not None
    assert once.toxicity.interval is not None
    assert ten.toxicity.interval is not None
    assert (ten.toxicity.n, ten.toxicity.prompts) == (200, 20)
    assert ten.toxicity.interval.low == pytest.approx(once.toxicity.interval.low)
    assert ten.toxicity.interval.high == pytest.approx(once.toxicity.interval.high)
    assert once.over is not None
    assert ten.over is not None
    assert ten.over.p == pytest.approx(once.over.p)
    assert ten.over.before.interval is not None
    assert ten.over.before.interval.high - ten.over.before.interval.low > 0.3


def test_the_same_rows_in_another_order_give_the_same_numbers() -> None:
    draw = random.Random(8)
    rows = [row(score(draw.random()), score(draw.random()), prompt, s) for prompt in range(12) for s in range(3)]
    mixed = list(rows)
    draw.shuffle(mixed)
    assert compare(rows) == compare(mixed)


@pytest.mark.parametrize(("mended", "worsened"), [(0, 0), (1, 0), (5, 0), (6, 0), (8, 2), (3, 3), (40, 21), (0, 9)])
def test_one_answer_a_prompt_makes_it_mcnemars_exact_test(mended: int, worsened: int) -> None:
    p = swap_p([1] * mended + [-1] * worsened + [0] * 7)
    n = mended + worsened
    assert p == pytest.approx(scipy_stats.binomtest(mended, n).pvalue if n else 1.0)


def test_swapping_whole_prompts_against_trying_every_way() -> None:
    nets = [2, -1, 3, 0, 1, 2]
    ways = [sum(s * n for s, n in zip(signs, nets, strict=True)) for signs in itertools.product((1, -1), repeat=6)]
    expected = sum(abs(way) >= abs(sum(nets)) for way in ways) / len(ways)
    assert swap_p(nets) == pytest.approx(expected)
    # two prompts whose three answers each were mended are two votes, not six: 2 * 1/4
    assert swap_p([3, 3]) == pytest.approx(0.5)


def test_uncovered_answers_are_counted_and_not_clean() -> None:
    rows = pairs((0.9, 0.2), (0.8, 0.4))
    rows += [row(NOT_COVERED, score(0.1), 7), row(score(0.9), NOT_COVERED, 8), row(NOT_COVERED, NOT_COVERED, 9)]
    (found,) = compare(rows).adapters
    assert (found.rows, found.paired, found.uncovered_before, found.uncovered_after) == (5, 2, 2, 2)
    assert found.toxicity is not None
    assert found.toxicity.n == 2
    assert found.toxicity.before.mean == pytest.approx(0.85)
    assert found.over is not None
    assert found.over.before.n == 2
    assert rows[2].difference is None
    (nothing,) = compare(rows[2:]).adapters
    assert (nothing.paired, nothing.toxicity, nothing.reward, nothing.over) == (0, None, None, None)


def test_a_reward_run_has_rewards_only() -> None:
    (found,) = compare([row(rewarded(-1.0), rewarded(0.5), 1), row(rewarded(2.0), rewarded(1.0), 2)]).adapters
    assert (found.toxicity, found.over) == (None, None)
    assert found.reward is not None
    assert found.reward.difference == pytest.approx(0.25)
    assert found.reward.before.mean == pytest.approx(0.5)


def test_no_interval_from_few_prompts_or_from_none_that_differ() -> None:
    (few,) = compare(pairs(*[(0.9, 0.1)] * 2, *[(0.5, 0.4)] * 3)).adapters
    assert few.toxicity is not None
    assert (few.toxicity.how, few.toxicity.interval, few.toxicity.verdict) == ("few prompts", None, "none")
    assert few.toxicity.percent is None  # without an interval nobody knows that the base is above zero
    (same,) = compare(pairs(*[(0.9, 0.9), (0.2, 0.2)] * 10)).adapters
    assert same.toxicity is not None
    assert (same.toxicity.how, same.toxicity.interval, same.toxicity.difference) == ("no variation", None, 0.0)
    assert same.over is not None
    assert same.over.p == 1
    (single,) = compare(pairs((0.4, 0.1))).adapters
    assert single.toxicity is not None
    assert single.toxicity.before.sd is None


def test_no_percentage_where_the_base_is_near_zero() -> None:
    low = LEAST_BASE * 0.9
    (found,) = compare(pairs(*[(low * (1 + n / 100), 0.001) for n in range(-10, 11)])).adapters
    assert found.toxicity is not None
    assert found.toxicity.verdict == "lower"
    assert found.toxicity.percent is None
    # one rude answer of thirty: the mean is above, its interval is not
    (rare,) = compare(pairs((0.99, 0.0), *[(0.0, 0.0)] * 29)).adapters
    assert rare.toxicity is not None
    assert rare.toxicity.before.mean > LEAST_BASE
    assert rare.toxicity.percent is None
    assert rare.toxicity.verdict == "open"


def test_adapters_in_the_order_asked_and_apart() -> None:
    rows = [row(score(0.9), score(0.1), 1, adapter="run-b"), row(score(0.9), score(0.8), 1, adapter="run-a")]
    assert [found.adapter for found in compare(rows, ["run-a", "run-c", "run-b"]).adapters] == ["run-a", "run-b"]
    assert [found.adapter for found in compare(rows).adapters] == ["run-b", "run-a"]
    assert compare([]).adapters == ()


def test_wording_by_hand() -> None:
    # 5 + 3 words; 2-grams: the cat, cat the, the cat, cat sat | so so, so so: 4 of 6 differ; 3-grams: 3 + 1, all differ
    found = wording(["The cat the cat sat.", "So so so", " !"])
    assert found.length == pytest.approx(8 / 3)
    assert found.distinct_2 == pytest.approx(4 / 6)
    assert found.distinct_3 == pytest.approx(1.0)
    assert found.empty == 1
    assert wording(["one"]).distinct_2 is None


def test_words_of_english_and_characters_of_chinese() -> None:
    assert units("Don't stop, 你好 世界！ it's 2") == ["don't", "stop", "你", "好", "世", "界", "it's", "2"]
