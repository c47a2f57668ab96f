"""The base's own answers beside the pairs: what they are, which tokens count, and that they keep the base's way of writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.domain.events import StepEvent
from studio.ml.dpo import replay
from studio.ml.dpo.replay import FREE_TOKENS, SAMPLES, Replay
from studio.ml.dpo.run import train_dpo
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.pairs import EncodedAnswer, encode_rows
from tests.helpers.dpo import load, make_job


def replayed(base: Path, job: Any, seed: int = 3) -> tuple[Any, Replay, list[tuple[EncodedAnswer, EncodedAnswer]]]:
    model, tokenizer = load(base)
    pairs = encode_rows(tokenizer, job.rows, "", 512)
    return model, Replay(tokenizer, pairs, 0, seed), pairs


def test_the_loss_is_that_of_the_tokens_behind_the_free_ones(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model, own, pairs = replayed(base, make_job(base, tmp_path, count=2))
    prompt = pairs[0][0].prompt_ids
    answer = tuple(range(10, 10 + FREE_TOKENS + 3))
    monkeypatch.setattr(replay, "continue_ids", lambda *_, **__: [list(answer), list(answer[:FREE_TOKENS])])
    logits = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    by_hand = [
        -logits[len(prompt) + place - 1, token].item() for place, token in enumerate(answer) if place >= FREE_TOKENS
    ]
    assert len(by_hand) == 3
    # the second answer ends within its free tokens and adds nothing
    assert own.loss(model, [0, 1], 0).item() == pytest.approx(sum(by_hand) / 3, abs=1e-5)
    assert own.loss(model, [1], 0).item() == 0


def test_what_a_step_sees_depends_on_its_rows_and_number_alone(base: Path, tmp_path: Path) -> None:
    job = make_job(base, tmp_path, count=6)
    model, own, _ = replayed(base, job)
    first = [own.loss(model, [0, 4], step).item() for step in range(SAMPLES)]
    _, again, _ = replayed(base, job)
    assert [again.loss(model, [0, 4], step).item() for step in reversed(range(SAMPLES))] == first[::-1]
    assert len(set(first)) == SAMPLES  # another answer at every step, until they come round again
    assert own.loss(model, [0, 4], SAMPLES).item() == first[0]
    _, other, _ = replayed(base, job, seed=4)
    assert other.loss(model, [0, 4], 0).item() != first[0]


def test_replay_keeps_the_bases_own_answers_likely_and_leaves_the_told_loss_alone(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load(base)
    kept, losses = [], []
    for weight in (0.0, 2.0):
        job = make_job(base, tmp_path / f"{weight}", epochs=6, learning_rate=2e-2, replay_weight=weight)
        events: list[Any] = []
        train_dpo(job, events.append, lambda: False)
        losses.append([event.loss for event in events if isinstance(event, StepEvent)])
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(load(base)[0], job.folder)
        pairs = encode_rows(tokenizer, job.rows, "", 512)
        own = Replay(tokenizer, pairs, 0, seed=99)
        answers = [own._answer(model, row, 0) for row in range(len(pairs))]
        kept.append(sum(answer_log_probs(adapted, answers, 0)))
    assert kept[1] > kept[0] + 10
    assert losses[0][0] == losses[1][0]
    assert losses[1][-1] < losses[1][0]
