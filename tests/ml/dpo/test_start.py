"""A DPO run that goes on from an adapter: its reference is base and adapter together, and what is saved holds both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.events import StepEvent
from studio.domain.settings import LoraSettings
from studio.ml.dpo.run import train_dpo
from studio.ml.lora.mixed import RowGroup, attached, read_adapter
from studio.ml.models.loading import load_model
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.pairs import encode_rows
from tests.helpers.dpo import load, make_base, make_job


def with_adapter(base: Path, folder: Path) -> Any:
    """Base and adapter as plain PEFT loads them."""
    from peft import PeftModel

    return PeftModel.from_pretrained(load(base)[0], str(folder)).eval()


def test_the_reference_is_the_start_and_what_is_saved_is_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr("studio.ml.training.fit.training_dtype", lambda device: "float32")
    base = make_base(tmp_path / "base", num_hidden_layers=3)
    first = make_job(base, tmp_path / "first", lora=LoraSettings(rank=4), learning_rate=1e-2)
    train_dpo(first, lambda event: None, lambda: False)

    # other layers than the start's, over kept states: what is kept below them has to be the start's own
    job = make_job(base, tmp_path / "on", lora=LoraSettings(rank=2, layers="1"), batch_size=12, learning_rate=1e-2)
    recipe = replace(job.recipe, start_run="first", start_hash="abc123")
    job = replace(job, recipe=recipe, start=first.folder)
    told: list[Any] = []
    train_dpo(job, told.append, lambda: False)

    started = with_adapter(base, first.folder)
    pairs = encode_rows(load(base)[1], job.rows, "", 256)
    chosen, rejected = (answer_log_probs(started, [pair[side] for pair in pairs], 0) for side in (0, 1))
    step = next(event for event in told if isinstance(event, StepEvent))
    assert step.logp_chosen == pytest.approx(sum(chosen) / 12, abs=1e-2)
    assert step.logp_rejected == pytest.approx(sum(rejected) / 12, abs=1e-2)
    assert step.margin == pytest.approx(0, abs=1e-3)
    plain = answer_log_probs(load(base)[0], [pair[0] for pair in pairs], 0)
    assert sum(plain) / 12 != pytest.approx(sum(chosen) / 12, abs=1e-1)

    # both references are kept, apart from each other
    kept = {path.name: json.loads(path.read_text()) for path in (tmp_path / "cache" / "reference").iterdir()}
    (own,) = (name for name in kept if name.endswith("-abc123.json"))
    (bases,) = (name for name in kept if name != own)
    assert [kept[own][pair[0].key] for pair in pairs] == pytest.approx(chosen, abs=1e-3)
    assert [kept[bases][pair[0].key] for pair in pairs] == pytest.approx(plain, abs=1e-3)
    assert {path.name.rpartition("-")[2] for path in (tmp_path / "cache" / "states").iterdir()} == {"2"}

    model, ids = load_model(base, device="cpu", dtype="float32"), torch.randint(5, 400, (3, 9))
    whole = read_adapter("on", job.folder, model)
    with torch.inference_mode():
        alone = model(ids).logits
        with attached(model, [RowGroup(whole, 0, 1, 0.0), RowGroup(whole, 1, 2)]):
            live = model(ids).logits
        ended, began = with_adapter(base, job.folder)(ids).logits, started(ids).logits
    assert torch.equal(live[0], alone[0])
    assert torch.equal(live[2], alone[2])
    assert torch.allclose(live[1], ended[1], atol=1e-4)
    assert not torch.allclose(ended, began, atol=1e-2)
    assert not torch.allclose(began, alone, atol=1e-2)


def test_a_start_without_a_name_is_kept_under_none(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    first = make_job(base, tmp_path / "runs" / "first", epochs=1)
    train_dpo(first, lambda event: None, lambda: False)
    before = {path: path.read_bytes() for path in (tmp_path / "runs" / "cache").rglob("*") if path.is_file()}
    on = replace(make_job(base, tmp_path / "runs" / "on", epochs=1), start=first.folder)
    train_dpo(on, lambda event: None, lambda: False)
    assert {path: path.read_bytes() for path in (tmp_path / "runs" / "cache").rglob("*") if path.is_file()} == before
