"""A recipe and its seed make the adapter, to the last bit, whatever the process did before: in every kind of run.

The adapter's first values, dropout, the order of rows and the answers of reinforcement learning are all drawn at random.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.runs import LoraSettings
from studio.domain.toxicity import TestPrompt
from studio.ml.detox.run import train_detox
from studio.ml.dpo.run import train_dpo
from studio.ml.reward.run import train_reward
from tests.helpers.detox import make_job as detox_job
from tests.helpers.dpo import make_job as dpo_job
from tests.helpers.reward import reward_job
from tests.helpers.t5 import ASK, make_t5

pytestmark = pytest.mark.timeout(600)
LORA = LoraSettings(rank=4, alpha=8, dropout=0.1)


def dpo(base: Path, folder: Path, seed: int) -> None:
    train_dpo(dpo_job(base, folder, count=8, heldout=0, lora=LORA, epochs=1, seed=seed), *QUIETLY)


def reward(base: Path, folder: Path, seed: int) -> None:
    train_reward(reward_job(base, folder, lora=LORA, epochs=1, seed=seed), *QUIETLY)


def detox(algorithm: str) -> Callable[[Path, Path, int], None]:
    def run(base: Path, folder: Path, seed: int) -> None:
        job = detox_job(base, folder, lora=LORA, algorithm=algorithm, steps=2, seed=seed)
        train_detox(job, *QUIETLY)

    return run


def seq2seq(base: Path, folder: Path, seed: int) -> None:
    prompts = tuple(TestPrompt(str(place), f"{ASK} {text}") for place, text in enumerate(("red", "tea rain", "sun")))
    lora = replace(LORA, target_modules="q,v")
    options: dict[str, Any] = {"prompts": prompts, "steps": 2, "max_new_tokens": 4, "seed": seed}
    train_detox(detox_job(base, folder, lora=lora, **options), *QUIETLY)


QUIETLY: Any = (lambda event: None, lambda: False)
KINDS = {"dpo": dpo, "reward": reward, "rloo": detox("rloo"), "grpo": detox("grpo"), "seq2seq": seq2seq}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_recipes_give_equal_adapters_in_one_process(kind: str, base: Path, tmp_path: Path) -> None:
    made, model = [], make_t5(tmp_path / "t5") if kind == "seq2seq" else base
    for number, seed in enumerate((7, 7, 8)):
        spend_chance(number)
        folder = tmp_path / str(number)
        KINDS[kind](model, folder, seed)
        made.append(hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest())
    assert made[0] == made[1] != made[2]


def spend_chance(number: int) -> None:
    """What other work in the process does to its random state."""
    import numpy as np
    import torch

    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
    torch.rand(number + 1)
