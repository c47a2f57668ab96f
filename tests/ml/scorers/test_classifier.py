"""Scorers: numbers against hand-worked values and against transformers' own pipeline; which label is toxic; what they refuse."""

from __future__ import annotations

import math
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from studio.domain.toxicity import NOT_COVERED, ScorerInfo, ScorerSpec, TextScore
from studio.errors import InputError, ModelLoadError, ScorerError
from studio.ml.reward.run import train_reward
from studio.ml.reward.scorer import RewardScorer
from studio.ml.scorers.classifier import ClassifierScorer, read_logits
from studio.ml.scorers.labels import Labels, read_labels
from studio.ml.scorers.load import load_scorer
from tests.helpers.reward import make_encoder, reward_job, reward_of, word_rows
from tests.helpers.scorers import classifier_spec, edit_config, make_classifier

HATE = ("nothate", "hate")
TOXIC = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
_WORDS = ["river", "stone", "cloud", "lamp", "garden", "你好", "<b>", "naïve", "😀", "paper"]


def some_texts(count: int = 40, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(_WORDS, k=draw.randint(1, 20))) for _ in range(count)]


def told_by_the_pipeline(folder: Path, texts: list[str]) -> list[dict[str, float]]:
    """Every label's probability of every text, as transformers' own pipeline gives it for the text alone."""
    from transformers import pipeline

    tell = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    return [{one["label"]: one["score"] for one in tell([text], truncation=True, max_length=128)[0]} for text in texts]


# -- numbers ------------------------------------------------------------------------------------------------------------


def test_two_labels_by_hand() -> None:
    # softmax(2, 0): exp(0) / (exp(2) + exp(0)) = 1 / 8.38906 = 0.119203
    found = read_logits((2.0, 0.0), Labels(HATE, 1, "softmax"))
    assert found.toxicity == pytest.approx(0.119203, abs=1e-6)
    assert (found.reward, found.logits, found.label, found.cut) == (2.0, (2.0, 0.0), "nothate", 0)
    assert read_logits((-1.0, 3.0), Labels(HATE, 1, "softmax"), 7) == TextScore(
        pytest.approx(0.982014, abs=1e-6), -1.0, (-1.0, 3.0), "hate", 7
    )


def test_three_labels_by_hand() -> None:
    # exp: 1, e, e**2; toxic (the last) 7.389056 / 11.107338 = 0.665241; the others together: log(1 + e) = 1.313262
    found = read_logits((0.0, 1.0, 2.0), Labels(("neutral", "rude", "hate"), 2, "softmax"))
    assert found.toxicity == pytest.approx(0.665241, abs=1e-6)
    assert found.reward == pytest.approx(1.313262, abs=1e-6)
    assert found.label == "hate"
    # softmax over (reward, toxic logit) is the toxicity again
    assert 1 / (1 + math.exp(1.313262 - 2.0)) == pytest.approx(0.665241, abs=1e-6)


def test_several_labels_at_once_by_hand() -> None:
    # sigmoid(1) = 0.731059 whatever the other logits are; the toxic logit alone: its negative is the reward
    found = read_logits((1.0, -5.0, 9.0), Labels(("toxic", "obscene", "insult"), 0, "sigmoid"))
    assert found.toxicity == pytest.approx(0.731059, abs=1e-6)
    assert (found.reward, found.label) == (-1.0, "toxic")
    mild = read_logits((-2.0, 9.0, 9.0), Labels(("toxic", "obscene", "insult"), 0, "sigmoid"))
    assert (mild.toxicity, mild.label) == (pytest.approx(0.119203, abs=1e-6), "not toxic")


def test_large_logits_overflow_nothing() -> None:
    for low, high in ((-1e4, 1e4), (1e4, -1e4)):
        assert read_logits((low, high), Labels(HATE, 1, "softmax")).toxicity == (1.0 if high > low else 0.0)
        assert read_logits((high,), Labels(("toxic",), 0, "sigmoid")).toxicity == (1.0 if high > 0 else 0.0)


@pytest.mark.parametrize(
    ("kind", "labels", "config"),
    [
        ("roberta", HATE, {}),
        ("bert", TOXIC, {"problem_type": "multi_label_classification"}),
        ("bert", ("neutral", "offensive language", "other"), {"problem_type": "single_label_classification"}),
        ("roberta", ("toxicity",), {}),
        ("causal", ("clean", "toxic"), {}),
    ],
)
def test_the_same_numbers_as_the_pipeline(
    tmp_path: Path, kind: Any, labels: tuple[str, ...], config: dict[str, Any]
) -> None:
    positions = 130 if kind == "roberta" else 128  # RoBERTa counts from 2 on
    folder = make_classifier(tmp_path / "model", labels, kind=kind, positions=positions, **config)
    toxic = labels[read_labels(folder, "org/model").toxic]
    texts = [*some_texts(), "river " * 300]
    scorer = load_scorer(classifier_spec(folder, labels, toxic), device="cpu")
    found = scorer.score(texts)
    expected = told_by_the_pipeline(folder, texts)
    assert [one.toxicity for one in found] == pytest.approx([one[toxic] for one in expected], abs=2e-5)
    assert len({round(one.toxicity or 0, 3) for one in found}) > 15
    if len(labels) > 1 and config.get("problem_type") != "multi_label_classification":
        assert [one.label for one in found] == [max(one, key=lambda name: one[name]) for one in expected]
    assert {one.cut > 0 for one in found[:-1]} == {False}
    assert found[-1].cut > 0
    assert all(len(one.logits) == len(labels) for one in found)
    scorer.release()
    with pytest.raises(ModelLoadError, match="was released"):
        scorer.score(["stone"])


# -- a scorer in memory ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> ClassifierScorer:
    folder = make_classifier(tmp_path_factory.mktemp("hate") / "model", HATE)
    return ClassifierScorer(classifier_spec(folder, HATE, "hate"), device="cpu")


def test_a_score_does_not_depend_on_its_neighbours_and_keeps_its_place(scorer: ClassifierScorer) -> None:
    texts = [*some_texts(30, 3), "river " * 200]
    alone = [scorer.score([text])[0] for text in texts]
    order = list(range(len(texts))) * 5  # more than one batch
    random.Random(1).shuffle(order)
    mixed = scorer.score([texts[index] for index in order])
    for score, index in zip(mixed, order, strict=True):
        assert score.logits == pytest.approx(alone[index].logits, abs=1e-4)
        assert (score.label, score.cut) == (alone[index].label, alone[index].cut)
    assert scorer.score([]) == []


def test_a_long_text_is_cut_at_its_end_and_says_so(scorer: ClassifierScorer) -> None:
    ids = scorer._tokenizer("river " * 300)["input_ids"]
    long, other = scorer.score(["river " * 300, "river " * 300 + "hate " * 50])
    assert long.cut == len(ids) - scorer.limit > 0
    assert scorer.limit == 128  # RoBERTa counts its 130 positions from 2 on
    assert other.logits == pytest.approx(long.logits, abs=1e-5)
    assert other.cut > long.cut


def test_an_empty_text_is_not_covered_among_others(scorer: ClassifierScorer) -> None:
    found = scorer.score(["", "stone", " \n\t", "lamp"])
    assert found[0] == found[2] == NOT_COVERED
    assert not found[0].covered
    assert found[1].logits == pytest.approx(scorer.score(["stone"])[0].logits, abs=1e-5)
    assert scorer.score([" "]) == [NOT_COVERED]


@pytest.mark.parametrize("text", ["\0", "</s>", "<s>", "<pad><pad>", "\u202e abc", "x" * 100_000])
def test_odd_texts_have_a_score_of_their_own(scorer: ClassifierScorer, text: str) -> None:
    alone = scorer.score([text])[0]
    beside = scorer.score(["stone " * 20, text, "lamp"])[1]
    assert beside.logits == pytest.approx(alone.logits, abs=1e-4)


def test_many_threads_get_their_own_scores(scorer: ClassifierScorer) -> None:
    texts = some_texts(8, 5)
    alone = [scorer.score([text])[0].reward for text in texts]
    got: dict[int, float | None] = {}

    def ask(index: int) -> None:
        got[index] = scorer.score([texts[index]])[0].reward

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [got[index] for index in range(8)] == pytest.approx(alone, abs=1e-4)


def test_a_logit_that_is_no_number_is_an_error_that_names_the_text(tmp_path: Path) -> None:
    import torch

    folder = make_classifier(tmp_path / "model", HATE)
    scorer = ClassifierScorer(classifier_spec(folder, HATE, "hate"), device="cpu")
    with torch.no_grad():
        scorer._model.classifier.out_proj.bias[0] = math.nan
    with pytest.raises(ScorerError, match=r"org/model gave nan for text 2, which is no number"):
        scorer.score([" ", "stone"])


# -- which label is toxic -------------------------------------------------------------------------------------------------


def config_of(folder: Path, labels: tuple[str, ...] | None, **more: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    named = None if labels is None else {str(index): name for index, name in enumerate(labels)}
    edit_config(folder, id2label=named, architectures=["BertForSequenceClassification"], **more)
    return folder


@pytest.mark.parametrize(
    ("model_id", "labels", "toxic"),
    [
        ("facebook/roberta-hate-speech-dynabench-r4-target", HATE, "hate"),
        ("unitary/toxic-bert", TOXIC, "toxic"),
        ("org/model", ("neutral", "Toxic"), "Toxic"),
        ("org/model", ("non-toxic", "toxic"), "toxic"),
        ("org/model", ("toxicity", "severe_toxicity", "insult"), "toxicity"),
        ("org/model", ("NOT_HATE", "Hate Speech"), "Hate Speech"),
        ("org/model", ("hate", "offensive", "toxic", "neither"), "toxic"),
    ],
)
def test_the_toxic_label_is_found(tmp_path: Path, model_id: str, labels: tuple[str, ...], toxic: str) -> None:
    found = read_labels(config_of(tmp_path / "m", labels), model_id)
    assert found.names == labels
    assert found.names[found.toxic] == toxic


def test_labels_stand_in_the_order_of_the_logits(tmp_path: Path) -> None:
    folder = config_of(tmp_path / "m", tuple(f"kind{index}" for index in range(12)))
    edit_config(folder, id2label={"10": "toxic", "2": "c", "0": "a"})
    assert read_labels(folder, "org/model").names == ("a", "c", "toxic")


def test_a_label_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    several = config_of(tmp_path / "several", ("hate", "offensive", "neither"))
    with pytest.raises(
        InputError,
        match=r"several labels that may be the toxic one; pick one of hate, offensive, neither and write org/m#LABEL",
    ):
        read_labels(several, "org/m")
    assert read_labels(several, "org/m", "offensive").toxic == 1
    assert read_labels(several, "org/m", "Offensive").toxic == 1
    with pytest.raises(InputError, match="org/m has no label 'rude'; its labels are hate, offensive, neither"):
        read_labels(several, "org/m", "rude")
    none = config_of(tmp_path / "none", ("POSITIVE", "NEGATIVE"))
    with pytest.raises(InputError, match="no label that names toxicity; pick one of POSITIVE, NEGATIVE"):
        read_labels(none, "org/m")


def test_a_model_without_names_for_its_labels_says_so(tmp_path: Path) -> None:
    for folder in (config_of(tmp_path / "a", None), config_of(tmp_path / "b", ("LABEL_0", "LABEL_1"))):
        with pytest.raises(
            InputError, match=r"does not name its labels \(LABEL_0, LABEL_1: no id2label.*write org/m#LABEL_1"
        ):
            read_labels(folder, "org/m")
        assert read_labels(folder, "org/m", "LABEL_1").toxic == 1


def test_the_activation_is_the_pipelines(tmp_path: Path) -> None:
    for number, (labels, problem, expected) in enumerate(
        [
            (HATE, None, "softmax"),
            (HATE, "single_label_classification", "softmax"),
            (TOXIC, "multi_label_classification", "sigmoid"),
            (("toxic",), None, "sigmoid"),
        ]
    ):
        assert (
            read_labels(config_of(tmp_path / f"m{number}", labels, problem_type=problem), "org/m").activation
            == expected
        )
    with pytest.raises(ModelLoadError, match="regression model"):
        read_labels(config_of(tmp_path / "r", ("toxic",), problem_type="regression"), "org/m")


# -- what is no classifier ------------------------------------------------------------------------------------------------


def test_other_models_are_refused_by_name(tmp_path: Path) -> None:
    folder = config_of(tmp_path / "chat", HATE)
    edit_config(folder, architectures=["LlamaForCausalLM"])
    with pytest.raises(ModelLoadError, match=r"org/m is no text classifier \(LlamaForCausalLM\)"):
        read_labels(folder, "org/m")
    (folder / "config.json").write_text("[")
    with pytest.raises(ModelLoadError, match=r"org/m has no config\.json"):
        read_labels(folder, "org/m")


def test_an_encoder_without_a_head_is_refused(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder")
    edit_config(folder, architectures=None, id2label={"0": "nothate", "1": "hate"})
    with pytest.raises(ModelLoadError, match=r"no finished classifier: its files have no weights for classifier\."):
        ClassifierScorer(classifier_spec(folder, HATE, "hate"), device="cpu")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    folder = make_classifier(tmp_path / "model", HATE)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelLoadError):
        ClassifierScorer(classifier_spec(folder, HATE, "hate"), device="cpu")


def test_a_spec_of_no_known_kind_is_refused() -> None:
    info = ScorerInfo("x", "other", "x", "", "")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no scorer of kind 'other'"):
        load_scorer(ScorerSpec(info))


# -- reward runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reward_spec(tmp_path_factory: pytest.TempPathFactory) -> ScorerSpec:
    folder = tmp_path_factory.mktemp("reward")
    base = make_encoder(folder / "base")
    job = reward_job(base, folder / "run", epochs=2, learning_rate=1e-2, system_prompt="Be kind.")
    train_reward(job, lambda event: None, lambda: False)
    info = ScorerInfo("run:test", "reward", "test", "abc", "what people preferred")
    return ScorerSpec(info, str(job.folder), str(base), "Be kind.", 64)


def test_a_reward_run_scores_answers_to_prompts(reward_spec: ScorerSpec) -> None:
    rows = word_rows(5, 9)
    scorer = load_scorer(reward_spec, device="cpu")
    direct = RewardScorer(
        reward_spec.base_path, reward_spec.path, system_prompt="Be kind.", max_length=64, device="cpu"
    )
    found = scorer.score([*(row.chosen for row in rows), " "], [*(row.prompt for row in rows), "Well?"])
    expected = [reward_of(direct, row.prompt, row.chosen) for row in rows]
    assert [one.reward for one in found[:-1]] == pytest.approx(expected, abs=1e-4)
    assert found[-1] == NOT_COVERED
    assert all(one.toxicity is None and one.label == "" and one.logits == (one.reward,) for one in found[:-1])
    assert all(one.covered for one in found[:-1])
    with pytest.raises(InputError, match="2 texts came with 0 prompts"):
        scorer.score(["a", "b"])
    with pytest.raises(InputError, match="2 texts came with 1 prompts"):
        scorer.score(["a", "b"], ["c"])
    with pytest.raises(InputError, match="prompt of text 2 is empty"):
        scorer.score(["a", "b"], ["c", " "])
    scorer.release()
    with pytest.raises(ModelLoadError, match="was released"):
        scorer.score(["a"], ["b"])
