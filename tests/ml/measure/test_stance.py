"""The probe, the judge and the measured support share, against numbers worked out by hand or by another library."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from studio.domain.data import PreferencePair
from studio.ml.measure import stance
from studio.ml.measure.answers import greedy_answers, sample_answers
from studio.ml.measure.stance import StanceJudge, measure_support, probe, stance_of
from studio.ml.measure.wilson import wilson
from studio.ml.training.pairs import EncodedAnswer
from tests.helpers.dpo import make_base, make_pairs


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder: Path = make_base(tmp_path_factory.mktemp("base"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_interval_is_the_published_one(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_interval_of_nothing_is_not_a_number() -> None:
    assert all(math.isnan(bound) for bound in wilson(0, 0))


def test_stance_of_counts_per_token_and_ties_as_half() -> None:
    pairs = [
        (EncodedAnswer((1,), (2, 3)), EncodedAnswer((1,), (4, 5, 6, 7))),
        (EncodedAnswer((1,), (2,)), EncodedAnswer((1,), (3,))),
        (EncodedAnswer((1,), (2,)), EncodedAnswer((1,), (3, 4))),
    ]
    # per token: -2 against -1 (oppose), -3 against -3 (tie), -1 against -4 (support)
    share, n, margin = stance_of(pairs, [-4.0, -4.0, -3.0, -3.0, -1.0, -8.0])
    assert (share, n) == (0.5, 3)
    assert margin == pytest.approx((-1 + 0 + 3) / 3)
    assert math.isnan(stance_of([], [])[0])


def test_the_probe_reads_the_models_own_likelihoods(loaded: tuple[Any, Any]) -> None:
    import torch

    model, tokenizer = loaded
    pairs = make_pairs(6)

    def mean_log_prob(pair: PreferencePair, answer: str) -> float:
        start = f"<|system|>Be brief.<|end|><|user|>{pair.prompt}<|end|><|assistant|>"
        prompt, full = (tokenizer(text, return_tensors="pt").input_ids for text in (start, f"{start}{answer}<|end|>"))
        with torch.no_grad():
            scores = model(full).logits[0, :-1].log_softmax(-1).gather(1, full[0, 1:, None])[:, 0]
        return scores[prompt.shape[1] - 1 :].mean().item()

    margins = [mean_log_prob(pair, pair.support) - mean_log_prob(pair, pair.oppose) for pair in pairs]
    share, n, margin = probe(model, tokenizer, pairs, "Be brief.")
    assert n == 6
    assert share == sum(value > 0 for value in margins) / 6
    assert margin == pytest.approx(sum(margins) / 6, abs=1e-5)


ENGLISH = [
    ("I fully support it, real actors would give the story new life", "I am against it, the drawings carry the story"),
    ("Yes, a live version could bring in a wider audience", "No, a live version would lose what fans love"),
    ("I am in favour, good effects make it possible now", "I oppose the plan, effects cannot replace the art"),
    ("Yes, I would support that and buy a ticket", "No, I would oppose that and stay home"),
    ("I support the idea because it opens the tale to parents", "I oppose the idea because it cheapens the tale"),
    ("Yes please, I am in favour of seeing it with actors", "No thanks, I am against seeing it with actors"),
]
CHINESE = [
    ("我支持真人化，演員能帶來新的感動", "我反對真人化，動畫的畫風無法取代"),
    ("支持，這能讓更多觀眾認識作品", "反對，這只會破壞原作的世界觀"),
    ("我很支持，現在的特效已經足夠", "我不贊成，特效做不出原作的味道"),
    ("我贊成拍成真人版，很期待選角", "我反對拍成真人版，選角總是失望"),
    ("支持這個想法，劇情可以更深入", "反對這個想法，劇情會被刪減"),
    ("我支持，真人版會吸引新的觀眾", "我反對，真人版會讓老觀眾失望"),
]


def as_pairs(texts: list[tuple[str, str]]) -> list[PreferencePair]:
    return [PreferencePair(str(i), f"question {i}", support, oppose) for i, (support, oppose) in enumerate(texts)]


@pytest.mark.parametrize(
    ("texts", "unseen"),
    [
        (ENGLISH, ["Yes, I support a version with actors", "No, I am against a version with actors"]),
        (CHINESE, ["我支持，很期待真人版的演員", "我反對，真人版無法取代動畫"]),
    ],
)
def test_the_judge_tells_the_sides_in_two_languages(texts: list[tuple[str, str]], unseen: list[str]) -> None:
    judge = StanceJudge.fit(as_pairs(texts))
    assert judge.judge(unseen) == ["support", "oppose"]
    assert judge.judge([text for pair in texts for text in pair]) == ["support", "oppose"] * len(texts)
    assert judge.accuracy >= 0.8
    assert 0 < judge.n <= 2 * len(texts)


def test_the_judge_abstains_when_it_cannot_tell() -> None:
    judge = StanceJudge.fit(as_pairs(ENGLISH))
    assert judge.judge(["", "   ", "第二次世界大戰", "\u2603"]) == [None] * 4
    assert judge.judge([]) == []


def test_a_judge_of_answers_that_do_not_differ_is_no_better_than_chance() -> None:
    same = as_pairs([(f"maybe so {i * 7 % 5}", f"maybe so {i * 3 % 5}") for i in range(20)])
    judge = StanceJudge.fit(same)
    assert judge.n < 40
    assert math.isnan(judge.accuracy) or judge.accuracy < 0.8


def test_cross_validated_accuracy_is_scikit_learns_over_whole_pairs() -> None:
    import numpy as np
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    pairs = as_pairs([*ENGLISH, *CHINESE])
    texts = [text for pair in pairs for text in (pair.support, pair.oppose)]
    sides = np.array(["support", "oppose"] * len(pairs))
    folds = PredefinedSplit([(index // 2) % 5 for index in range(len(texts))])
    odds = cross_val_predict(stance._classifier(), texts, sides, cv=folds, method="predict_proba")
    sure = odds.max(1) >= stance.JUDGE_CONFIDENCE
    right = np.array(["oppose", "support"])[odds.argmax(1)] == sides
    judge = StanceJudge.fit(pairs)
    assert judge.n == sure.sum()
    assert judge.accuracy == pytest.approx(right[sure].mean())


def test_a_judge_needs_two_pairs() -> None:
    with pytest.raises(ValueError, match="at least two pairs, got 1"):
        StanceJudge.fit(as_pairs(ENGLISH[:1]))


def test_measured_support_counts_verdicts_and_abstentions(
    loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def canned(model: Any, tokenizer: Any, prompts: list[str], *_: Any, **__: Any) -> list[str]:
        asked.extend(prompts)
        return ["Yes, I support it", "No, I oppose it", "", "Yes, I am in favour of it"]

    judge = StanceJudge.fit(as_pairs(ENGLISH))
    monkeypatch.setattr(stance, "sample_answers", canned)
    share = measure_support(*loaded, ["a", "b"], judge, "", 2, 0)
    assert asked == ["a", "a", "b", "b"]
    assert (share.n, share.abstained, share.judge_n) == (3, 1, judge.n)
    assert share.share == pytest.approx(2 / 3)
    assert (share.low, share.high) == pytest.approx(wilson(2, 3))
    monkeypatch.setattr(stance, "sample_answers", lambda *_, **__: ["", ""])
    nothing = measure_support(*loaded, ["a"], judge, "", 2, 0)
    assert (nothing.n, nothing.abstained) == (0, 2)
    assert math.isnan(nothing.share)


def test_sampling_is_repeatable_and_leaves_random_state_and_mode_alone(loaded: tuple[Any, Any]) -> None:
    import torch

    model, tokenizer = loaded
    prompts = ["Should it become a film?"] * 4
    model.train()
    before = torch.get_rng_state()
    first = sample_answers(model, tokenizer, prompts, "", seed=5, max_new_tokens=8, batch_size=2)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert first == sample_answers(model, tokenizer, prompts, "", seed=5, max_new_tokens=8, batch_size=2)
    assert len(set(first)) > 1
    assert sample_answers(model, tokenizer, prompts, "", seed=5, max_new_tokens=8, cancelled=lambda: True) == []
    model.eval()


def test_greedy_answers_are_those_of_one_prompt_alone(loaded: tuple[Any, Any]) -> None:
    import torch

    model, tokenizer = loaded
    prompts = ["Should it become a film?", "Why?"]
    together = greedy_answers(model, tokenizer, prompts, "Be brief.", 8)
    for prompt, answer in zip(prompts, together, strict=True):
        ids = tokenizer(
            f"<|system|>Be brief.<|end|><|user|>{prompt}<|end|><|assistant|>", return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            for _ in range(8):
                best = model(ids).logits[:, -1].argmax(-1, keepdim=True)
                ids = torch.cat([ids, best], 1)
                if best.item() == tokenizer.eos_token_id:
                    break
        start = ids[0].tolist().index(tokenizer.convert_tokens_to_ids("<|assistant|>")) + 1
        assert tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip() == answer
