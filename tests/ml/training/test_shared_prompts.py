"""Equal prompts of a batch read once: the same log-probabilities, gradients and runs, or each answer apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.domain.events import DetoxEvent, StepEvent
from studio.domain.settings import LoraSettings
from studio.ml.detox.run import train_detox
from studio.ml.dpo.run import train_dpo
from studio.ml.reward.run import train_reward
from studio.ml.training import shared_prompts
from studio.ml.training.logprobs import answer_log_probs, token_log_probs
from studio.ml.training.pairs import EncodedAnswer, pad_answers
from studio.ml.training.shared_prompts import share_prompts, shared
from studio.ml.training.trunk import open_trunk
from tests.helpers.detox import make_job as make_detox_job
from tests.helpers.dpo import make_base, make_job
from tests.helpers.families import family
from tests.helpers.reward import reward_job

FIRST, SECOND = (5, 6, 7, 8), (9, 10, 11)
#: In turns, of several lengths; one prompt has a single answer.
ANSWERS = [
    EncodedAnswer(prompt, tuple(range(20 + n, 23 + 2 * n)))
    for n, prompt in enumerate([FIRST, SECOND, FIRST, (12, 13), SECOND, FIRST])
]


def scores(model: Any, answers: list[EncodedAnswer] = ANSWERS) -> Any:
    batch = pad_answers(answers, 0)
    return token_log_probs(model, batch.input_ids, batch.completion_mask)


def tokens_read(model: Any) -> list[int]:
    read: list[int] = []
    model.base_model.layers[0].register_forward_pre_hook(lambda _, args: read.append(args[0].shape[:2].numel()))
    return read


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        ("Llama", "eager"),
        ("Llama", "sdpa"),
        ("Qwen3", "sdpa"),
        ("Gemma2", "eager"),
        ("Gemma3", "eager"),
        ("Gemma3", "sdpa"),
    ],
)
def test_answers_behind_one_copy_of_their_prompt_are_those_of_separate_rows(name: str, attention: str) -> None:
    import torch

    model = family(name)
    model.config.sliding_window = 64  # as wide as the mask has to be
    model.set_attn_implementation(attention)
    read, weight = tokens_read(model), model.base_model.layers[2].mlp.up_proj.weight
    apart = scores(model)
    (slope,) = torch.autograd.grad(apart.sum(), weight)
    share_prompts(model, lambda: scores(model))
    assert model.shares_prompts
    read.clear()
    together = scores(model)
    assert read == [3 * (len(FIRST) + 3 + 5 + 8)], "three rows as long as that of the first prompt"
    assert torch.allclose(together, apart, atol=1e-5)
    assert torch.allclose(torch.autograd.grad(together.sum(), weight)[0], slope, atol=1e-5)


def test_kept_states_and_references_read_each_prompt_once() -> None:
    import torch

    model = family("Llama")
    apart, alone = open_trunk(model, 2, ANSWERS, 0, None), answer_log_probs(model, ANSWERS, 0)
    share_prompts(model, lambda: scores(model))
    read = tokens_read(model)
    together = open_trunk(model, 2, ANSWERS, 0, None)
    assert apart
    assert together
    kept = 3 * (len(FIRST) + 3 + 5 + 8)
    assert read[-1] == kept, "besides the rows that are compared"
    assert torch.allclose(together.states(ANSWERS), apart.states(ANSWERS), atol=1e-5)
    assert answer_log_probs(model, ANSWERS, 0) == pytest.approx(alone, abs=1e-4)
    assert read[-1] == kept


def test_rows_wider_than_a_layers_window_stay_apart() -> None:
    model = family("Gemma3")
    model.shares_prompts, read = True, tokens_read(model)
    scores(model)
    assert read == [len(ANSWERS) * max(map(len, ANSWERS))]


def test_layers_that_see_beyond_the_mask_are_left_alone() -> None:
    model = family("Lfm2")
    share_prompts(model, lambda: scores(model))
    assert not getattr(model, "shares_prompts", False)


@pytest.mark.parametrize("trouble", [0.2, RuntimeError("no such mask")])
def test_other_numbers_or_a_refusal_leave_the_answers_apart(trouble: Any) -> None:
    import torch

    model = family("Llama")

    def other() -> Any:
        if not getattr(model, "shares_prompts", False):
            return torch.zeros(3)
        if isinstance(trouble, Exception):
            raise trouble
        return torch.full((3,), trouble)

    share_prompts(model, other)
    assert model.shares_prompts is False


@pytest.mark.parametrize("layers", ["all", "1/3"])
@pytest.mark.parametrize("method", ["dpo", "reward", "detox"])
def test_a_run_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, layers: str) -> None:
    monkeypatch.setattr("studio.ml.training.fit.training_dtype", lambda device: "float32")
    base = make_base(tmp_path / "base", num_hidden_layers=6)
    lora, losses, calls = LoraSettings(rank=4, layers=layers), [], []
    for name in ("shared", "apart"):
        folder, events = tmp_path / name / "run", list[Any]()
        with pytest.MonkeyPatch.context() as patch:
            if name == "apart":
                patch.setattr(f"studio.ml.{method}.run.share_prompts", lambda *_: None)
            patch.setattr(shared_prompts, "shared", lambda *given, name=name: calls.append(name) or shared(*given))
            if method == "dpo":
                train_dpo(make_job(base, folder, lora=lora), events.append, lambda: False)
            elif method == "reward":
                train_reward(reward_job(base, folder, lora=lora), events.append, lambda: False)
            else:
                train_detox(make_detox_job(base, folder, lora=lora, steps=3, beta=0.5), events.append, lambda: False)
        losses.append([event.loss for event in events if isinstance(event, StepEvent | DetoxEvent)])
    assert set(calls) == {"shared"}
    assert len(losses[0]) > 2
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
