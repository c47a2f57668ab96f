"""The words that moved: against plain PEFT, against what training logs, and texts whose characters take several tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.domain.data import Message
from studio.domain.events import StepEvent
from studio.domain.words import MovedWords, Token
from studio.errors import InputError
from studio.ml.chat.words import moved_tokens
from studio.ml.dpo.run import train_dpo
from studio.ml.lora.mixed import read_adapter
from studio.ml.models.loading import load_model, load_tokenizer
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.pairs import conversation, encode_answer
from tests.helpers.chat_models import make_adapter, make_base
from tests.helpers.dpo import make_base as make_training_base
from tests.helpers.dpo import make_job

ASK = (Message("user", "Hi there"),)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("words") / "base")


@pytest.fixture(scope="module")
def folder(base: Path) -> Path:
    return make_adapter(base.parent / "run", base)


def moved(base: Path, folder: Path, answer: str, strength: float = 1.0) -> tuple[Token, ...]:
    model = load_model(base, device="cpu", dtype="float32")
    adapter = read_adapter("run", folder, model)
    return moved_tokens(model, load_tokenizer(base), adapter, ASK, answer, strength)


def test_each_token_is_scored_as_plain_models_score_it(base: Path, folder: Path) -> None:
    import torch
    from peft import PeftModel

    tokens, tokenizer = moved(base, folder, "Yes, do."), load_tokenizer(base)
    encoded = encode_answer(tokenizer, ASK, "Yes, do.")
    plain: Any = load_model(base, device="cpu", dtype="float32")
    ids = torch.tensor([encoded.ids])
    start = len(encoded.prompt_ids)
    targets = torch.tensor(encoded.answer_ids)
    for field in ("base", "adapter"):
        if field == "adapter":
            plain = PeftModel.from_pretrained(plain, folder).eval()
        with torch.no_grad():
            scores = plain(ids).logits[0, start - 1 : -1].log_softmax(-1)
        wanted = scores.gather(1, targets[:, None])[:, 0].tolist()
        assert [getattr(token, field) for token in tokens] == pytest.approx(wanted, abs=1e-4)
        if field == "base":
            assert tokens[0].likeliest[0][1] == pytest.approx(float(scores[0].exp().max()), abs=1e-5)
    assert "".join(token.text for token in tokens) == "Yes, do.<|end|>"
    assert [len(token.likeliest) for token in tokens] == [3] * len(tokens)


def test_nothing_moves_at_strength_0_and_more_at_more(base: Path, folder: Path) -> None:
    assert all(token.difference == 0 for token in moved(base, folder, "Yes.", 0.0))
    sums = [abs(MovedWords(moved(base, folder, "Yes.", strength)).sum) for strength in (0.1, 1.0)]
    assert sums[0] < sums[1]


def test_characters_of_several_tokens_stay_whole(base: Path, folder: Path) -> None:
    answer = "好😀 שלום e\u0301"
    tokens = moved(base, folder, answer)
    assert "".join(token.text for token in tokens) == f"{answer}<|end|>"
    assert [token.text for token in tokens][:3] == ["好", "😀", " "]
    encoded = encode_answer(load_tokenizer(base), ASK, answer)
    whole = answer_log_probs(load_model(base, device="cpu", dtype="float32"), [encoded], 0)
    assert sum(token.base for token in tokens) == pytest.approx(whole[0], abs=1e-3)


def test_a_text_beyond_the_context_is_refused(base: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="256 at most"):
        moved(base, folder, "x" * 400)


def test_beta_times_the_sum_is_the_reward_that_training_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # bfloat16, in which a CPU may train, rounds the third digit
    monkeypatch.setattr("studio.ml.training.fit.training_dtype", lambda device: "float32")
    base = make_training_base(tmp_path / "base")
    options: dict[str, Any] = {"count": 1, "ratio": 1.0, "epochs": 6, "learning_rate": 1e-2, "batch_size": 1}
    whole: list[Any] = []
    train_dpo(make_job(base, tmp_path / "whole", **options), whole.append, lambda: False)
    logged = [event for event in whole if isinstance(event, StepEvent)]
    events: list[Any] = []

    def before_the_last() -> bool:
        return sum(isinstance(event, StepEvent) for event in events) >= len(logged) - 1

    # a step logs the rewards that it starts from: those of the adapter one step before
    job = make_job(base, tmp_path / "stopped", **options)
    train_dpo(job, events.append, before_the_last)
    model = load_model(base, device="cpu", dtype="float32")
    adapter, row = read_adapter("run", job.folder, model), job.rows[0]
    rewards = [
        MovedWords(
            moved_tokens(model, load_tokenizer(base), adapter, conversation(row.prompt), answer),
            beta=job.recipe.settings.beta,
        ).reward
        for answer in (row.chosen, row.rejected)
    ]
    assert rewards == pytest.approx([logged[-1].reward_chosen, logged[-1].reward_rejected], abs=1e-3)
    assert min(map(abs, (logged[-1].reward_chosen, logged[-1].reward_rejected))) > 0.01
