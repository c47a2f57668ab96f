"""Answers of the engine: how they are drawn, how they stream, how they stop."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.chat import Sampling
from studio.domain.data import Message
from studio.ml.chat.decoding import RowSampler, RowStreamer, StopRows
from studio.ml.chat.engine import ChatEngine, GenRow
from studio.ml.models.loading import load_model, load_tokenizer
from tests.helpers.chat_models import make_tokenizer, source
from tests.helpers.engine import ASK, GREEDY, texts

SAMPLED = Sampling(temperature=1, top_p=0.9, max_new_tokens=24, seed=7)


# -- sampling ---------------------------------------------------------------------------------------------------------


def test_sampler_draws_from_the_filtered_distribution() -> None:
    import torch

    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows = 8000
    sampler = RowSampler(Sampling(temperature=1, top_p=0.9), range(rows))
    drawn = sampler(torch.zeros(rows, 1), probabilities.log().expand(rows, -1)).argmax(dim=1)
    share = torch.bincount(drawn, minlength=4) / rows
    # 0.5 + 0.3 + 0.15 is the smallest sum that reaches 0.9
    assert torch.allclose(share, torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95, atol=0.02)


def test_top_p_equals_that_of_transformers() -> None:
    import torch
    from transformers import TopPLogitsWarper

    from studio.ml.chat.decoding import keep_top_p

    torch.manual_seed(0)
    for size, scale in ((64, 3.0), (3000, 0.1), (3000, 4.0)):
        logits = torch.randn(5, size) * scale
        for top_p in (0.05, 0.5, 0.95, 0.999):
            wanted = TopPLogitsWarper(top_p)(torch.zeros(5, 1), logits)
            assert torch.equal(keep_top_p(logits, top_p).isinf(), wanted.isinf())


def test_defaults_of_the_model_do_not_leak_in(engine: ChatEngine, base: Path, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    config = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**config, "repetition_penalty": 1.9, "top_k": 1}))
    for sampling in (GREEDY, SAMPLED):
        assert texts(engine, source(other), [GenRow(ASK)], {}, sampling) == texts(
            engine, source(base), [GenRow(ASK)], {}, sampling
        )
    assert texts(engine, source(base), [GenRow(ASK)], {}, replace(GREEDY, repetition_penalty=1.9)) != texts(
        engine, source(base), [GenRow(ASK)], {}, GREEDY
    )


def test_a_repetition_penalty_leaves_the_words_of_the_question_alone(
    engine: ChatEngine, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, int]] = []
    monkeypatch.setattr("studio.ml.chat.engine.less_repetition", lambda *given: seen.append(given) or [])
    texts(engine, source(base), [GenRow((Message("user", "Why?"),))], {}, replace(GREEDY, repetition_penalty=1.3))
    prompt = load_tokenizer(base).apply_chat_template([{"role": "user", "content": "Why?"}], add_generation_prompt=True)
    assert seen == [(1.3, len(prompt["input_ids"]))]


# -- streaming --------------------------------------------------------------------------------------------------------


def test_no_half_character_is_ever_shown(tmp_path: Path) -> None:
    import torch

    make_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    sentence = "動漫改編，真人🎬好 ok"
    seen: list[str] = []
    ended = [False, False]
    streamer = RowStreamer(tokenizer, ended, {1}, lambda: seen.append(streamer.text(0)))
    ids = tokenizer(sentence, add_special_tokens=False)["input_ids"]
    streamer.put(torch.zeros(2, 5, dtype=torch.long))
    for token in ids:
        streamer._last = 0.0
        streamer.put(torch.tensor([token, 1]))
    assert all("\ufffd" not in text and sentence.startswith(text) for text in seen)
    assert seen[-1] == sentence
    assert ended == [False, True]
    assert streamer.tokens[1] == []


def test_rows_stream_together_and_end_each_at_its_own_end(
    engine: ChatEngine, base: Path, folders: dict[str, Path]
) -> None:
    class Scripted:
        """Ends row 0 after 2 tokens, row 1 never."""

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            scores[0, 1] = 1e9 if input_ids.shape[1] >= self.start + 2 else -1e9
            scores[1, 1] = -1e9
            return scores

    import torch

    model = load_model(base, device="cpu", dtype="float32")
    scripted = Scripted()
    scripted.start = 3
    ended = [False, False]
    streamer = RowStreamer(load_tokenizer(base), ended, {1}, lambda: None)
    sampler = RowSampler(GREEDY, [0, 0])
    out = model.generate(
        torch.randint(5, 264, (2, 3)),
        max_new_tokens=6,
        do_sample=False,
        logits_processor=[scripted, sampler],
        stopping_criteria=[StopRows(sampler, ended, [])],
        streamer=streamer,
    )
    assert out.shape == (2, 9)
    assert [len(row) for row in streamer.tokens] == [2, 6]
    assert ended == [True, False]


def test_a_tokenizer_without_template_ends_at_the_next_turn(tmp_path: Path) -> None:
    import torch

    make_tokenizer(tmp_path, None)
    tokenizer = load_tokenizer(tmp_path)
    ended = [False]
    streamer = RowStreamer(tokenizer, ended, {1}, lambda: None, "\n###")
    streamer.put(torch.zeros(1, 5, dtype=torch.long))
    for token in tokenizer("Yes.\n\n### User:\nMore", add_special_tokens=False)["input_ids"]:
        streamer._last = 0.0
        streamer.put(torch.tensor([token]))
    assert ended == [True]
    assert streamer.text(0) == "Yes."


# -- stopping ---------------------------------------------------------------------------------------------------------
