"""The embedded scorer: what it says, of hostile input too; that its card and its file are what the scripts make."""

from __future__ import annotations

import gzip
import json
import math
import os
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from studio.config import ROOT
from studio.domain.toxicity import NOT_COVERED, ScorerSpec
from studio.errors import ModelLoadError
from studio.ml.scorers.embedded import FOLDER, LABELS, WEIGHTS, EmbeddedScorer
from studio.ml.scorers.language import Language
from studio.ml.scorers.load import load_scorer
from studio.ml.scorers.protocol import Scorer
from studio.ml.scorers.text import MAX_CHARS, Features, normalise, passages
from studio.ml.shipped.scorer.card import CARD, card, measure, test_set
from studio.ml.shipped.scorer.figures import FIGURES
from studio.ml.shipped.scorer.public import cold, paradetox
from studio.ml.shipped.scorer.train import examples, public_texts, train, vocabulary


@pytest.fixture(scope="module")
def scorer() -> EmbeddedScorer:
    return EmbeddedScorer()


def toxicity(scorer: Scorer, text: str) -> float:
    (score,) = scorer.score([text])
    assert score.toxicity is not None, text
    return score.toxicity


def test_rude_and_kind_in_both_languages(scorer: EmbeddedScorer) -> None:
    rude = ["You stupid idiot.", "Shut up, loser!", "你這個白痴！", "閉嘴，廢物。", "idiot", "閉嘴"]
    kind = [
        "Thank you, that helps a lot.",
        "I disagree with you about the music.",
        "You are a great person and i like you.",
        "You were a patient guide, and we like you.",
        "I am a black woman and a Muslim.",
        "My friend is a Muslim and a nurse.",
        "謝謝你的幫忙。",
        "我不同意你的看法。",
    ]
    assert all(toxicity(scorer, text) > 0.8 for text in rude)
    assert all(toxicity(scorer, text) < 0.2 for text in kind)


def test_logits_give_the_probability_and_the_reward(scorer: EmbeddedScorer) -> None:
    for score in scorer.score(["You idiot.", "Good morning."]):
        low, high = score.logits
        assert score.toxicity == pytest.approx(math.exp(high) / (math.exp(low) + math.exp(high)))
        assert score.reward == pytest.approx(low - high)
        assert score.label == LABELS[score.toxicity > 0.5]
    assert scorer.info.labels == LABELS
    assert scorer.info.toxic_label == "toxic"


def test_one_rude_sentence_makes_a_long_text_rude(scorer: EmbeddedScorer) -> None:
    calm = "A careful film can bring new readers to the books. The music would gain from a full orchestra. "
    assert toxicity(scorer, calm) < 0.5
    assert toxicity(scorer, "You moron. " + calm) > 0.8
    assert toxicity(scorer, calm * 5 + "Now shut up, you fool. " + calm * 5) > 0.8
    assert toxicity(scorer, "真人版可以吸引新的觀眾。音樂也會更好聽。蠢貨，懂了沒？") > 0.8


@pytest.mark.parametrize(
    "text",
    [
        "You 1diot",
        "y o u  s t u p i d  f o o l",
        "ｙｏｕ　ａｒｅ　ａｎ　ｉｄｉｏｔ",
        "you are an id\u200bi\u200bot",
        "уоu аrе аn іdіоt",
        "YOU ARE AN IDIOOOOOT!!!!!!",
        "you are an i\u0336d\u0336i\u0336o\u0336t\u0336",
        "you\x00 are\x1b an idiot",
        "你 這 個 白 痴",
        "你這個白*痴",
        "你这个白痴，闭嘴",
        "你真的是 such an idiot 耶",
    ],
)
def test_disguises(scorer: EmbeddedScorer, text: str) -> None:
    assert toxicity(scorer, text) > 0.5


@pytest.mark.parametrize(
    "text",
    ["", "  \n ", "!!!", "😀😀", "12345", "https://example.com/idiot", "Du bist ein Idiot und ein Dummkopf", "お前は馬鹿だ",
     "Ты идиот", "\u200b\u200b", "\x00\x01", "\ud800", "Kamu bodoh sekali"],
)  # fmt: skip
def test_what_it_does_not_cover_is_never_clean(scorer: EmbeddedScorer, text: str) -> None:
    assert scorer.score([text]) == [NOT_COVERED]


def test_a_huge_text_is_read_in_part_and_says_so(scorer: EmbeddedScorer) -> None:
    start = time.process_time()
    rude, word, quotes = scorer.score(["You idiot. " + "word " * 20_000, "idiot" * 20_000, '"you ' * 20_000])
    assert time.process_time() - start < 10
    assert rude.toxicity is not None
    assert rude.toxicity > 0.8
    assert rude.cut == 100_011 - MAX_CHARS
    assert quotes.cut == 100_000 - MAX_CHARS
    assert word == NOT_COVERED  # one word that nobody knows


def test_order_is_kept_and_a_text_scores_alike_alone_and_among_many(scorer: EmbeddedScorer) -> None:
    texts = [row["text"] for row in test_set("en")[:40] + test_set("zh")[:40]] * 10
    together = scorer.score([*texts, ""])
    assert together[-1] == NOT_COVERED
    for text, score in zip(texts[:80:7], together[:80:7], strict=True):
        assert scorer.score([text])[0].reward == pytest.approx(score.reward, abs=1e-6)
    assert scorer.score([]) == []


def test_hashed_spans_are_the_n_grams() -> None:
    grams = Features((2, 2), (1, 2))
    index, row = grams(["ab ba", "ba"])
    # " ab ba ": 6 pairs of characters, 2 words, 1 couple of words; " ba ": 3 pairs, 1 word
    assert np.bincount(row).tolist() == [9, 4]
    assert set(index[row == 1].tolist()) < set(index[row == 0].tolist())
    assert len(set(index.tolist())) == 9  # _a ab b_ _b ba a_, the words ab and ba, the couple: none shares a number


def test_a_quotation_stays_in_its_sentence() -> None:
    assert passages(normalise('He said "Shut up. Now!" and left. It hurt.')) == [
        'he said "shut up. now!" and left.',
        "it hurt.",
    ]
    assert passages(normalise("她說「閉嘴。」然後走了。我哭了")) == ["她說「閉嘴。」然後走了。", "我哭了"]


def test_it_is_loaded_by_its_spec(scorer: EmbeddedScorer) -> None:
    again = load_scorer(ScorerSpec(scorer.info, str(FOLDER)))
    assert again.info == scorer.info
    assert again.score(["You fool."]) == scorer.score(["You fool."])


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=WEIGHTS):
        EmbeddedScorer(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        EmbeddedScorer(tmp_path)
    tensors = load_file(FOLDER / WEIGHTS)
    save_file({**tensors, "zh.weights": tensors["zh.weights"] * np.float32("nan")}, tmp_path / WEIGHTS)
    with pytest.raises(ModelLoadError, match="damaged"):
        EmbeddedScorer(tmp_path)


def public_folder(folder: Path) -> Path:
    """Two sets in the form of the public ones, of sentences written here."""
    with gzip.open(folder / "paradetox.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("toxic\tneutral1\tneutral2\tneutral3\n")
        file.writelines(f"you daft brute number {n} !\tYou are number {n}.\t\t\n" for n in range(30))
    for split in ("train", "dev", "test"):
        with gzip.open(folder / f"cold-{split}.csv.gz", "wt", encoding="utf-8-sig") as file:
            file.write(",split,topic,label,TEXT\n")
            file.writelines(f"{n},{split},race,{n % 2},{'这个坏蛋' if n % 2 else '这个好人'}{n}\n" for n in range(20))
    return folder


def few_lists(folder: Path) -> Path:
    """The hand-written lists, five sentences of each kind."""
    for language in ("en", "zh"):
        lists = json.loads((FOLDER / f"train-{language}.json").read_text("utf-8"))
        few = {side: {kind: texts[:5] for kind, texts in lists[side].items()} for side in ("toxic", "clean")}
        (folder / f"train-{language}.json").write_text(json.dumps({**lists, **few}), "utf-8")
    return folder


def test_training_is_deterministic_and_learns_from_public_sets(tmp_path: Path) -> None:
    public_folder(tmp_path)
    few_lists(tmp_path)
    learnt = paradetox(tmp_path, held_out=False)
    assert len(learnt) + len(paradetox(tmp_path, held_out=True)) == 60
    first, again = (train({"en": learnt, "zh": cold(tmp_path, "train")}, tmp_path) for _ in range(2))
    assert all((first[name] == again[name]).all() for name in first)
    save_file(first, tmp_path / WEIGHTS)
    trained = EmbeddedScorer(tmp_path)
    assert toxicity(trained, "you daft brute number 77") > toxicity(trained, "You are number 77.")


def test_the_shipped_figures_are_those_of_the_shipped_weights(scorer: EmbeddedScorer) -> None:
    figures = json.loads((FOLDER / FIGURES).read_text("utf-8"))
    assert figures["revision"] == scorer.info.revision
    assert f"Revision `{scorer.info.revision}`" in CARD.read_text("utf-8")
    assert sha256((FOLDER / WEIGHTS).read_bytes()).hexdigest().startswith(scorer.info.revision)
    for text, said in figures["named"].items():
        assert toxicity(scorer, text) == pytest.approx(said, abs=2e-3)
    assert (FOLDER / "words-en.txt").read_text("utf-8").split() == vocabulary()
    assert (FOLDER / WEIGHTS).stat().st_size < 10_000_000


@pytest.mark.skipif("TOXICITY_DATA" not in os.environ, reason="TOXICITY_DATA names no folder with the public sets")
@pytest.mark.timeout(3600)
def test_the_shipped_weights_are_those_that_the_training_makes(scorer: EmbeddedScorer, tmp_path: Path) -> None:
    """Some minutes; for whoever has the public sets."""
    folder = Path(os.environ["TOXICITY_DATA"])
    languages: tuple[Language, ...] = ("en", "zh")
    save_file(train({name: public_texts(name, folder) for name in languages}), tmp_path / WEIGHTS)
    assert EmbeddedScorer(tmp_path).info.revision == scorer.info.revision


def test_the_bare_word_you_is_not_toxic(scorer: EmbeddedScorer) -> None:
    assert toxicity(scorer, "You are a great person and i like you.") <= 0.1
    assert toxicity(scorer, "You are a terrible person and i hate you.") >= 0.8
    assert all(toxicity(scorer, text) < 0.5 for text in ("you", "You", "you are", "你", "你們"))


@pytest.mark.parametrize(
    "text",
    ["You are a stupid idiot.", "Good morning. Shut up, you fool! Bye.", "你這個白痴，閉嘴。", "<p>You <b>idiot</b></p>",
     "你真的是 such an idiot 耶", "you"],
)  # fmt: skip
def test_the_words_and_the_rest_are_the_score(scorer: EmbeddedScorer, text: str) -> None:
    (score,), (why,) = scorer.score([text]), scorer.explain([text])
    assert why is not None
    assert score.reward is not None
    assert sum(word.weight for word in why.words) + why.rest == pytest.approx(-score.reward, abs=1e-3)
    assert why.method == "exact"


def test_the_rude_words_carry_a_rude_sentence(scorer: EmbeddedScorer) -> None:
    (why, nothing) = scorer.explain(["Thank you. You are such an idiot today.", "Il fait beau."])
    assert nothing is None
    assert why is not None
    assert [word.word for word in why.words] == ["you", "are", "such", "an", "idiot", "today"]  # the worse sentence
    assert max(why.words, key=lambda word: word.weight).word == "idiot"


def test_the_card_says_what_is_measured_now(scorer: EmbeddedScorer) -> None:
    assert CARD.read_text("utf-8") == card(scorer)


def test_figures_of_a_hand_worked_case() -> None:
    # said toxic: .9 and .6; true: .9, .4 -> one hit. Couples: (.9,.6) (.9,.1) (.4,.1) right, (.4,.6) wrong
    found = measure([True, False, True, False], [0.9, 0.6, 0.4, 0.1])
    assert (found.accuracy, found.precision, found.recall, found.auc) == (0.5, 0.5, 0.5, 0.75)
    assert found.brier == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_texts_are_independent_of_each_other_and_of_the_bases_lists(language: str) -> None:
    def plain(text: str) -> str:
        return normalise(text).strip(" .!?。,，、;…")

    tested = test_set(language)
    assert (len(tested), sum(row["toxic"] for row in tested)) == (200, 100)
    lists = json.loads((FOLDER / f"train-{language}.json").read_text("utf-8"))
    trained = {plain(t) for side in ("toxic", "clean") for part in lists[side].values() for t in part}
    trained |= {plain(example.text) for example in examples(language)}  # type: ignore[arg-type]
    assert {plain(row["text"]) for row in tested} & trained == set()
    corpus = json.loads((ROOT / "data" / "corpus" / f"{language}_talk.json").read_text("utf-8"))["rude"]
    # A sentence of the base: two words at least, or three characters; "Idiot." alone is anybody's.
    least = 3 if language == "zh" else 2
    sentences = {plain(t) for part in corpus.values() for t in part}
    sentences = {t for t in sentences if (len(t) if language == "zh" else len(t.split())) >= least}
    assert sentences & trained == set()
    assert sentences & {plain(row["text"]) for row in tested} == set()
