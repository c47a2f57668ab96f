"""A reward model in memory: scores that do not depend on their neighbours, and texts it refuses."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from studio.domain.data import Message
from studio.errors import InputError, ModelLoadError
from studio.ml.dpo.run import train_dpo
from studio.ml.reward.run import train_reward
from studio.ml.reward.scorer import RewardScorer
from tests.helpers.dpo import make_base, make_job
from tests.helpers.reward import make_encoder, reward_job, reward_of, rewards, word_rows


@pytest.fixture(scope="module", params=["causal", "roberta", "pad is end"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base and a reward adapter on it whose head and layers have moved."""
    folder = tmp_path_factory.mktemp("scoring")
    base = make_encoder(folder / "base") if request.param == "roberta" else make_base(folder / "base")
    if request.param == "pad is end":
        path = base / "tokenizer_config.json"
        settings = json.loads(path.read_text())
        settings["pad_token"] = settings["eos_token"]
        path.write_text(json.dumps(settings))
    job = reward_job(base, folder / "run", epochs=4, learning_rate=1e-2, system_prompt="Be kind.")
    train_reward(job, lambda event: None, lambda: False)
    return base, job.folder


@pytest.fixture(scope="module")
def scorer(model: tuple[Path, Path]) -> RewardScorer:
    return RewardScorer(*model, device="cpu")


def talk(prompt: str, answer: str) -> list[Message]:
    return [Message("user", prompt), Message("assistant", answer)]


def talks() -> list[list[Message]]:
    found = [talk(row.prompt, row.chosen * (1 + index % 3)) for index, row in enumerate(word_rows(23, 5))]
    long = [Message("system", "Rhyme."), *talk("stone", "paper"), *talk("river " * 30, "silver lamp")]
    return [*found, long, talk("a", "b")]


def test_a_score_does_not_depend_on_its_neighbours(scorer: RewardScorer) -> None:
    every = talks()
    alone = [rewards(scorer, [one])[0] for one in every]
    assert len({round(value, 3) for value in alone}) > 10
    assert rewards(scorer, every) == pytest.approx(alone, abs=1e-4)
    order = list(range(len(every)))
    random.Random(1).shuffle(order)
    mixed = rewards(scorer, [every[index] for index in order])
    assert mixed == pytest.approx([alone[index] for index in order], abs=1e-4)
    assert rewards(scorer, every * 30) == pytest.approx(alone * 30, abs=1e-4)  # more than one batch
    assert rewards(scorer, []) == []


def test_the_padding_side_changes_nothing(scorer: RewardScorer) -> None:
    alone = [rewards(scorer, [one])[0] for one in talks()[:5]]
    scorer._tokenizer.padding_side = "right"
    try:
        assert rewards(scorer, talks()[:5]) == pytest.approx(alone, abs=1e-4)
    finally:
        scorer._tokenizer.padding_side = "left"


def test_many_threads_get_their_own_scores(scorer: RewardScorer) -> None:
    every = talks()[:8]
    alone = [rewards(scorer, [one])[0] for one in every]
    got: dict[int, float] = {}

    def ask(index: int) -> None:
        got[index] = rewards(scorer, [every[index]])[0]

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [got[index] for index in range(8)] == pytest.approx(alone, abs=1e-4)


def test_the_runs_system_prompt_goes_before_the_conversation(model: tuple[Path, Path], scorer: RewardScorer) -> None:
    kind = RewardScorer(*model, device="cpu", system_prompt="Be kind.")
    written = [Message("system", "Be kind."), *talk("stone", "cloud")]
    assert reward_of(kind, "stone", "cloud") == pytest.approx(rewards(scorer, [written])[0], abs=1e-6)
    assert rewards(kind, [written]) == pytest.approx(rewards(scorer, [written]), abs=1e-6)
    assert abs(reward_of(kind, "stone", "cloud") - reward_of(scorer, "stone", "cloud")) > 1e-4


def test_an_answer_without_anything_in_it_is_refused(scorer: RewardScorer) -> None:
    for answer in ("", " \n\t"):
        with pytest.raises(InputError, match="answer of conversation 2 is empty"):
            rewards(scorer, [talk("stone", "cloud"), talk("stone", answer)])


@pytest.mark.parametrize("turns", [[], [Message("user", "a")], [Message("assistant", "a")]])
def test_a_conversation_without_question_or_answer_is_refused(scorer: RewardScorer, turns: list[Message]) -> None:
    with pytest.raises(InputError, match="Conversation 1 has no answer at its end"):
        rewards(scorer, [turns])
    with pytest.raises(InputError, match="no question before its answer"):
        rewards(scorer, [[Message("system", "a"), Message("assistant", "b")]])


def test_what_is_too_long_is_told(model: tuple[Path, Path], scorer: RewardScorer) -> None:
    with pytest.raises(
        InputError, match=r"answer of conversation 1 \([\d,]+ characters\) is longer than the \d+ tokens"
    ):
        reward_of(scorer, "stone", "garden " * 5000)
    long, short = talk("river " * 5000, "cloud"), talk("stone", "cloud")
    found = scorer.scored([long, short])
    assert found[0].cut > 1000
    assert found[1].cut == 0
    narrow = RewardScorer(*model, device="cpu", max_length=40)
    assert narrow.limit == 40
    assert narrow.scored([talk("river " * 60, "cloud")])[0].cut > 0


@pytest.mark.parametrize("text", ["<|pad|>", "<pad><pad>", "\0", "</s>", "\u202e abc", "<|end|><|end|>", "<script>"])
def test_odd_texts_have_a_score_of_their_own(scorer: RewardScorer, text: str) -> None:
    alone = reward_of(scorer, "stone", text)
    both = rewards(scorer, [talk("stone", text), talk("stone " * 20, "garden " * 10)])
    assert both[0] == pytest.approx(alone, abs=1e-4)


def test_a_released_model_says_so(model: tuple[Path, Path]) -> None:
    scorer = RewardScorer(*model, device="cpu")
    scorer.release()
    scorer.release()
    with pytest.raises(ModelLoadError, match="was released"):
        reward_of(scorer, "stone", "cloud")


def test_only_adapters_of_reward_runs_are_taken(model: tuple[Path, Path], tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    job = make_job(base, tmp_path / "dpo", heldout=0, epochs=1, probe_every=0, sample_every=0)
    train_dpo(job, lambda event: None, lambda: False)
    with pytest.raises(ModelLoadError, match=r"^dpo is not a reward model; choose a run made in the Reward tab\.$"):
        RewardScorer(base, job.folder, device="cpu")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelLoadError, match=r"no adapter_config\.json"):
        RewardScorer(base, empty, device="cpu")


def test_an_adapter_for_another_base_is_refused(model: tuple[Path, Path], tmp_path: Path) -> None:
    other: dict[str, Any] = {"hidden_size": 48, "num_attention_heads": 4}
    base = make_base(tmp_path / "other", **other)
    with pytest.raises(ModelLoadError, match="does not fit this base"):
        RewardScorer(base, model[1], device="cpu")
