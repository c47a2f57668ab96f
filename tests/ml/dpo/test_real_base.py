"""A few steps of the preset for real small models on SmolLM2 itself: kept states equal all layers, and its answers are PEFT's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.events import StepEvent
from studio.domain.settings import LoraSettings
from studio.ml.dpo.run import train_dpo
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.pairs import encode_rows
from studio.ml.training.trunk import open_trunk
from studio.services.recipes.presets import PRESETS
from tests.helpers.dpo import load, make_job

PRESET = PRESETS["real-small"]


def test_a_short_run_on_smollm2(real_base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    job = make_job(real_base, tmp_path / "run", count=8, heldout=0, lora=PRESET.lora)
    settings = replace(PRESET.settings, batch_size=4, epochs=2.0, warmup_ratio=0.0, sample_every=0)
    job = replace(job, recipe=replace(job.recipe, settings=settings), judge_pairs=())
    events: list[Any] = []
    train_dpo(job, events.append, lambda: False)
    assert [event.step for event in events if isinstance(event, StepEvent)] == [1, 2, 3, 4]
    model, tokenizer = load(real_base)
    pairs = encode_rows(tokenizer, job.rows, "", 512)
    adapted = PeftModel.from_pretrained(model, job.folder).eval()
    chosen = [pair[0] for pair in pairs]
    with adapted.disable_adapter():
        before = sum(answer_log_probs(adapted, chosen, tokenizer.pad_token_id))
    assert sum(answer_log_probs(adapted, chosen, tokenizer.pad_token_id)) > before


@pytest.mark.parametrize("layers", ["1/2", "1"])
def test_the_upper_layers_of_smollm2_over_kept_states_are_all_layers_to_the_last_bit(
    real_base: Path, tmp_path: Path, layers: str
) -> None:
    model, tokenizer = load(real_base)
    rows = make_job(real_base, tmp_path / "run", count=4).rows
    pairs = encode_rows(tokenizer, rows, "Answer in one short sentence.", 512)
    answers = [answer for pair in pairs for answer in pair]
    trunk = open_trunk(model, LoraSettings(layers=layers).first_layer(30), answers, tokenizer.pad_token_id, None)
    assert trunk is not None
    assert trunk.difference(answers, tokenizer.pad_token_id) == 0
