"""Answers of a real vLLM against those of the engine, both in float32."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.config import ROOT
from studio.domain.chat import Blend, Sampling
from studio.domain.data import Message
from studio.domain.runs import BaseModelRef
from studio.errors import ChatServerError
from studio.ml.chat.engine import ChatEngine
from studio.ml.chat.request import BaseSource, GenRow
from studio.ml.chat.served import ServedAnswerer
from studio.ml.chat.server import ChatServer
from studio.ml.lora.blend import write_sum
from tests.helpers.engine import last, texts
from tests.helpers.vllm import KEY, RANK, vllm_server

HIGH, LOW = "demo-smollm2-90", "demo-smollm2-10"
QUESTIONS = ("Should anime be turned into live action?", "What is the capital of France?")


@pytest.mark.timeout(1500)
def test_a_real_vllm_answers_as_the_engine_does(real_base: Path, tmp_path: Path) -> None:
    source = BaseSource(BaseModelRef("smollm2-135m"), real_base)
    folders = {name: ROOT / "adapters" / name for name in (HIGH, LOW)}
    rows = [
        row
        for question in QUESTIONS
        for asked in [(Message("user", question),)]
        for row in (
            GenRow(asked),
            GenRow(asked, HIGH),
            GenRow(asked, LOW),
            GenRow(asked, HIGH, strength=0.5),
            GenRow(asked, HIGH, blend=Blend(LOW, 0.3)),
        )
    ]
    greedy = Sampling(temperature=0, max_new_tokens=24)
    engine = ChatEngine("cpu", lambda: 1, dtype="float32")
    with vllm_server(real_base, "smollm2-135m", tmp_path / "vllm.log") as url:
        answerer = ServedAnswerer(ChatServer(url, KEY))
        got = last(answerer.generate(source, rows, folders, greedy))
        wanted = last(engine.generate(source, rows, folders, greedy))
        # more voices than the server has slots: the base is the base all the same
        assert [(one.text, one.tokens, one.note) for one in got] == [(one.text, one.tokens, one.note) for one in wanted]
        assert len({one.text for one in got[:3]}) == 3

        drawn = Sampling(temperature=0.8, max_new_tokens=12, seed=5)
        twice = [texts(answerer, source, [GenRow(rows[0].messages, seed=n) for n in (5, 6)], {}, drawn) for _ in "ab"]
        assert twice[0] == twice[1]
        assert twice[0][0] != twice[0][1]

        said = "Yes, it brings stories to a wider audience."
        ours, theirs = (one.moved(source, rows[3], folders, said) for one in (answerer, engine))
        assert [token.text for token in ours] == [token.text for token in theirs]
        assert [token.base for token in ours] == pytest.approx([token.base for token in theirs], abs=1e-3)
        assert [token.adapter for token in ours] == pytest.approx([token.adapter for token in theirs], abs=1e-3)
        assert [token.likeliest[0][0] for token in ours] == [token.likeliest[0][0] for token in theirs]
        engine.close()

        (tmp_path / "wide").mkdir()
        assert write_sum([(folders[HIGH], 1.0)] * 3, tmp_path / "wide") > RANK
        with pytest.raises(ChatServerError, match="rank"):
            texts(answerer, source, [GenRow(rows[0].messages, "wide")], {"wide": tmp_path / "wide"}, greedy)
        stranger = ServedAnswerer(ChatServer(url, "another"))
        with pytest.raises(ChatServerError, match="refuses the key"):
            stranger.load(source)
        stranger.close()
        answerer.close()
