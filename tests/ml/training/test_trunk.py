"""Kept states below the trained layers: the same numbers as all layers, on every family that can, and what is done where not."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from studio.domain.events import StepEvent
from studio.domain.settings import LoraSettings
from studio.errors import RecipeError
from studio.ml.dpo.run import train_dpo
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.pairs import EncodedAnswer, encode_rows
from studio.ml.training.trunk import open_trunk, prune
from tests.helpers.dpo import load, make_base, make_job
from tests.helpers.families import SMALL, family

ANSWERS = [EncodedAnswer((5, 6, 7, 8 + n), tuple(range(20 + n, 27 + 2 * n))) for n in range(6)]


@pytest.mark.parametrize("name", ["Llama", "Qwen3", "Gemma2", "Gemma3"])
def test_upper_layers_over_kept_states_give_the_log_probabilities_of_all_layers(name: str) -> None:
    model = family(name)
    for first in (1, 4):
        trunk = open_trunk(model, first, ANSWERS, 0, None)
        assert trunk is not None
        whole, upper = answer_log_probs(model, ANSWERS, 0), answer_log_probs(model, ANSWERS, 0, trunk=trunk)
        assert upper == pytest.approx(whole, abs=1e-4)
        assert len(model.base_model.layers) == SMALL["num_hidden_layers"]


def test_a_family_that_changes_its_inputs_goes_through_all_layers_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = family("Granite", embedding_multiplier=12.0)  # multiplies inputs_embeds on their way in
    with caplog.at_level(logging.WARNING):
        assert open_trunk(model, 3, ANSWERS, 0, None) is None
    assert "the run goes through all layers" in caplog.text


def test_states_beyond_the_bound_are_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_trunk(family("Llama"), 3, ANSWERS, 0, tmp_path, disk_bytes=1000) is None
    assert "goes through all layers instead" in caplog.text
    assert not list(tmp_path.rglob("*.bin"))


def test_states_are_read_back_from_their_files_in_memory_or_mapped(tmp_path: Path) -> None:
    model = family("Llama")
    first = open_trunk(model, 3, ANSWERS, 0, tmp_path / "base-3")
    assert first is not None
    damaged = next((tmp_path / "base-3").iterdir())
    damaged.write_bytes(b"short")
    for memory in (2**20, 0):  # held, and mapped
        again = open_trunk(model, 3, ANSWERS, 0, tmp_path / "base-3", memory_bytes=memory)
        assert again is not None
        assert float((again.states(ANSWERS) - first.states(ANSWERS)).abs().max()) < 1e-6
    assert damaged.stat().st_size > 5


def test_the_states_unused_for_longest_are_deleted_first(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old", "older")):
        path = tmp_path / name / "x.bin"
        path.parent.mkdir()
        path.write_bytes(b"0" * 10)
        os.utime(path, (1000 - age, 1000 - age))
    prune(tmp_path, limit=25)
    assert sorted(path.parent.name for path in tmp_path.rglob("*.bin")) == ["new", "old"]


@pytest.mark.parametrize(
    ("layers", "first"), [("all", 0), ("10", 20), ("1/3", 20), ("0.5", 15), ("99", 0), ("1/100", 29)]
)
def test_layers_are_counted_from_the_top(layers: str, first: int) -> None:
    assert LoraSettings(layers=layers).first_layer(30) == first


def test_a_run_of_the_upper_layers_equals_the_same_run_through_all_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of every step, the files, and what plain PEFT makes of them."""
    import studio.ml.training.setup as setup

    base = make_base(tmp_path / "base", num_hidden_layers=6)
    monkeypatch.setattr("studio.ml.training.fit.training_dtype", lambda device: "float32")
    losses, adapters = [], []
    for name in ("kept", "all"):
        if name == "all":
            monkeypatch.setattr(setup, "open_trunk", lambda *_, **__: None)
        job = make_job(base, tmp_path / name / "run", lora=LoraSettings(rank=4, layers="1/3"), sft_weight=0.5)
        events: list[Any] = []
        train_dpo(job, events.append, lambda: False)
        losses.append([event.loss for event in events if isinstance(event, StepEvent)])
        adapters.append(adapter_tensors(job.folder))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert {key.split(".layers.")[1].split(".")[0] for key in adapters[0]} == {"4", "5"}
    for key, tensor in adapters[0].items():
        assert float((tensor - adapters[1][key]).abs().max()) < 1e-3, key
    model, tokenizer = load(base)
    row = encode_rows(tokenizer, job.rows, "", 256)[0][0]
    assert peft_log_prob(model, job.folder, row) != pytest.approx(answer_log_probs(model, [row], 0)[0], abs=1e-3)


def test_a_base_whose_layers_have_another_name_is_refused_by_a_sentence(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    base = make_base(tmp_path / "base")
    GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=400)).save_pretrained(base)
    with pytest.raises(RecipeError, match="Layers is 1/2"):
        train_dpo(make_job(base, tmp_path / "run", lora=LoraSettings(layers="1/2")), lambda _: None, lambda: False)


def adapter_tensors(folder: Path) -> dict[str, Any]:
    """Tensors of a saved adapter by name."""
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def peft_log_prob(model: Any, folder: Path, row: EncodedAnswer) -> float:
    """Log-probability of an answer in a copy of ``model`` with the saved adapter, loaded by PEFT."""
    import copy

    from peft import PeftModel

    return answer_log_probs(PeftModel.from_pretrained(copy.deepcopy(model), folder).eval(), [row], 0)[0]


def test_a_stopped_run_of_the_upper_layers_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", num_hidden_layers=4)
    lora = LoraSettings(rank=4, layers="2")
    whole = make_job(base, tmp_path / "whole" / "run", lora=lora, epochs=2)
    train_dpo(whole, lambda _: None, lambda: False)
    parted = make_job(base, tmp_path / "parted" / "run", lora=lora, epochs=2)
    steps: list[Any] = []
    train_dpo(parted, steps.append, lambda: len([s for s in steps if isinstance(s, StepEvent)]) >= 3)
    train_dpo(dataclasses.replace(parted, resume=True), lambda _: None, lambda: False)
    for key, tensor in adapter_tensors(whole.folder).items():
        assert tensor.equal(adapter_tensors(parted.folder)[key]), key
