"""The next turn of a conversation computes only what is new in it, and answers as one that computes everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.domain.chat import BASE
from studio.domain.data import Message
from studio.ml.chat.engine import ChatEngine, GenRow
from studio.ml.chat.kept_turns import KeptTurns, Row
from studio.ml.models.loading import load_model
from tests.helpers.chat_models import make_adapter, make_base, source
from tests.helpers.engine import GREEDY, texts

FIRST = (Message("user", "A question of some length, which the turn after it need not compute again"),)
OTHER = (
    Message("system", "Be brief."),
    Message("user", "Another one, longer than the first by some words, so that the rows have to be padded"),
)


@pytest.fixture(name="engine")
def _engine() -> Iterator[ChatEngine]:
    engine = ChatEngine(device="cpu", threads=lambda: 1, dtype="float32")
    yield engine
    engine.close()


def columns(engine: ChatEngine) -> list[int]:
    """How many columns each forward pass of the engine's model is given from now on."""
    seen: list[int] = []
    _, loaded = engine._bases.now()[-1]
    loaded.model.get_input_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    return seen


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral"])
def test_a_second_turn_computes_its_new_tokens_only(tmp_path: Path, kind: str, engine: ChatEngine) -> None:
    base = make_base(tmp_path / "base", kind, sliding_window=None)
    folders = {"a": make_adapter(tmp_path / "a", base)}
    here = source(base)
    # the first question again, behind a system prompt of that row's own
    told = (Message("system", "Be kind."), *FIRST)
    rows = [GenRow(FIRST), GenRow(OTHER, "a"), GenRow(FIRST, "a"), GenRow(told)]
    answers = texts(engine, here, rows, folders, GREEDY)
    assert len(set(answers)) == 4
    follow = [
        GenRow((*row.messages, Message("assistant", reply), Message("user", "And?")), row.adapter)
        for row, reply in zip(rows, ("Fine.", "No, it is not.", "Yes.", "Well."), strict=True)
    ]
    seen = columns(engine)
    again = texts(engine, here, follow, folders, GREEDY)
    assert max(seen) < len(FIRST[0].content)
    fresh = ChatEngine(device="cpu", threads=lambda: 1, dtype="float32")
    try:
        assert again == texts(fresh, here, follow, folders, GREEDY)
    finally:
        fresh.close()


def test_a_changed_adapter_or_another_conversation_is_computed_anew(tmp_path: Path, engine: ChatEngine) -> None:
    base = make_base(tmp_path / "base")
    folders = {"a": make_adapter(tmp_path / "a", base)}
    here = source(base)
    (answer,) = texts(engine, here, [GenRow(FIRST, "a")], folders, GREEDY)
    follow = (*FIRST, Message("assistant", answer), Message("user", "And?"))
    seen = columns(engine)
    texts(engine, here, [GenRow(follow)], folders, GREEDY)  # the base has not answered this before
    assert max(seen) > len(FIRST[0].content)
    make_adapter(tmp_path / "a", base, seed=5)
    seen.clear()
    texts(engine, here, [GenRow(follow, "a")], folders, GREEDY)
    assert max(seen) > len(FIRST[0].content)


def test_memory_is_bounded_and_a_conversation_is_kept_once(tmp_path: Path) -> None:
    import torch

    base = make_base(tmp_path / "base")
    model = load_model(base, device="cpu", dtype="float32")
    per_token = 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, size, bytes
    turns = KeptTurns(limit_bytes=100 * per_token)
    for start in (10, 20, 30):
        ids = tuple(range(start, start + 40))
        with torch.inference_mode():
            cache = model(torch.tensor([ids])).past_key_values
        for _ in range(2):
            # 30 tokens of a prompt and an answer of 11, whose last one was never put in
            turns.keep([Row(BASE, ids[:30])], torch.ones(1, 30, dtype=torch.long), [[*ids[30:], 9]], cache)
    assert [kept.row.ids for kept in turns._kept] == [tuple(range(20, 60)), tuple(range(30, 70))]
    assert sum(kept.size_bytes for kept in turns._kept) == 80 * per_token
