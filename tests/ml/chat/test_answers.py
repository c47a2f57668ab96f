"""Answers of the engine: how they are drawn, how they stream, how they stop."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.chat import BASE, PaneUpdate, Sampling
from studio.domain.data import Message
from studio.ml.chat.decoding import RowSampler, RowStreamer, StopRows
from studio.ml.chat.engine import ChatEngine, GenRow
from studio.ml.models.loading import load_model, load_tokenizer
from tests.helpers.chat_models import make_base, make_tokenizer, source
from tests.helpers.engine import ASK, GREEDY, texts

SAMPLED = Sampling(temperature=1, top_p=0.9, max_new_tokens=24, seed=7)


# -- sampling ---------------------------------------------------------------------------------------------------------


def test_an_answer_repeats_and_does_not_depend_on_its_neighbours(
    engine: ChatEngine, base: Path, folders: dict[str, Path]
) -> None:
    one = source(base)
    alone = {name: texts(engine, one, [GenRow(ASK, name)], folders, SAMPLED)[0] for name in (BASE, "run-0", "run-1")}
    together = texts(engine, one, [GenRow(ASK, n) for n in ("run-1", BASE, "run-0", BASE)], folders, SAMPLED)
    assert together == [alone["run-1"], alone[BASE], alone["run-0"], alone[BASE]]
    assert texts(engine, one, [GenRow(ASK)], folders, replace(SAMPLED, seed=8))[0] != alone[BASE]
    assert texts(engine, one, [GenRow(ASK, seed=7)], folders, replace(SAMPLED, seed=8))[0] == alone[BASE]


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


def test_temperature_zero_is_greedy_whatever_the_seed(engine: ChatEngine, base: Path) -> None:
    got = {texts(engine, source(base), [GenRow(ASK, seed=seed)], {}, GREEDY)[0] for seed in range(3)}
    assert len(got) == 1


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


def test_updates_grow_and_say_why_they_ended(engine: ChatEngine, base: Path, folders: dict[str, Path]) -> None:
    rows = [GenRow(ASK), GenRow(ASK, "run-0")]
    seen = list(engine.generate(source(base), rows, folders, replace(GREEDY, max_new_tokens=60)))
    for pane in range(2):
        counts = [updates[pane].tokens for updates in seen]
        assert counts == sorted(counts)
        final = seen[-1][pane]
        assert final.done
        assert final.tokens_per_second > 0
        assert final.note == ("Cut after 60 tokens." if final.tokens == 60 else "")
    assert seen[-1][0].verified is True
    assert seen[-1][1].verified is None


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


def endless(base: Path, folder: Path) -> Path:
    """The base with a long context and an end that greedy answers do not reach."""
    made = make_base(folder, max_position_embeddings=100_000)
    return made


def test_stop_keeps_what_was_said_and_the_engine_works_on(
    engine: ChatEngine, tmp_path: Path, folders: dict[str, Path], base: Path
) -> None:
    one = source(endless(base, tmp_path / "long"))
    cancel = threading.Event()
    seen: list[list[PaneUpdate]] = []
    for updates in engine.generate(
        one, [GenRow(ASK), GenRow(ASK, "run-0")], folders, replace(GREEDY, max_new_tokens=20_000), cancel
    ):
        seen.append(updates)
        if updates[0].tokens:
            cancel.set()
    assert seen[-1][0].note == "Stopped."
    assert seen[-1][0].done
    assert 0 < seen[-1][0].tokens < 20_000
    assert texts(engine, one, [GenRow(ASK)], {}, GREEDY)[0]


def test_closing_the_iterator_stops_the_work(engine: ChatEngine, tmp_path: Path, base: Path) -> None:
    one = source(endless(base, tmp_path / "long"))
    stream = engine.generate(one, [GenRow(ASK)], {}, replace(GREEDY, max_new_tokens=20_000))
    while not next(stream)[0].tokens:
        pass
    stream.close()
    done = threading.Event()

    def ask() -> None:
        texts(engine, one, [GenRow(ASK)], {}, GREEDY)
        done.set()

    threading.Thread(target=ask, daemon=True).start()
    assert done.wait(60)


def test_many_threads_share_the_engine(engine: ChatEngine, base: Path, folders: dict[str, Path]) -> None:
    one = source(base)
    names = [BASE, "run-0", "run-1", "run-2"]
    wanted = {name: texts(engine, one, [GenRow(ASK, name)], folders, GREEDY)[0] for name in names}
    wrong: list[str] = []

    def ask(offset: int) -> None:
        for turn in range(3):
            panes = [names[(offset + turn + i) % 4] for i in range(3)]
            got = texts(engine, one, [GenRow(ASK, pane) for pane in panes], folders, GREEDY)
            wrong.extend(pane for pane, text in zip(panes, got, strict=True) if text != wanted[pane])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong
