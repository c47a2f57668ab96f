"""A reward run: what it learns, tells, keeps and resumes, and what goes wrong."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.data import Message
from studio.domain.events import ProbeEvent, StepEvent
from studio.domain.settings import LoraSettings
from studio.errors import ModelLoadError, RecipeError, TrainingError
from studio.ml.reward.rows import encode_answer
from studio.ml.reward.run import RewardJob
from studio.ml.reward.scorer import RewardScorer
from studio.ml.training.fit import TrainingResult
from tests.helpers.reward import make_encoder, reward_job, reward_of, word_rows
from tests.helpers.reward_runs import report_of, run, steps

ENCODERS = ("roberta", "distilbert", "bert")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("roberta"))


# --- what is learned --------------------------------------------------------------------------------------------------

LEARNING: dict[str, Any] = {"epochs": 5, "learning_rate": 5e-3, "batch_size": 8, "probe_every": 10}


@pytest.fixture(scope="module")
def learned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardJob, TrainingResult, list[Any]]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    job = reward_job(base, folder, word_rows(64), word_rows(40, 1, "h"), **LEARNING)
    return job, *run(job)


@pytest.fixture(scope="module")
def learned_encoder(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardJob, list[Any]]:
    folder = tmp_path_factory.mktemp("encoder-runs") / "run"
    job = reward_job(encoder, folder, word_rows(64), word_rows(40, 1, "h"), **LEARNING)
    return job, run(job)[1]


def test_a_preference_that_can_be_learned_is_learned(learned: tuple[RewardJob, TrainingResult, list[Any]]) -> None:
    _, result, events = learned
    report = report_of(events)
    assert (report.n, report.dropped, report.majority) == (40, 0, 0.5)
    assert report.hits / report.n > 0.9
    assert report.learned
    assert report.step == result.steps == 40
    probes = [event for event in events if isinstance(event, ProbeEvent)]
    assert [event.step for event in probes] == [0, 10, 20, 30, 40]
    assert 0.2 < probes[0].share < 0.8
    assert probes[-1].share == pytest.approx((report.hits + report.ties / 2) / report.n)
    assert probes[-1].margin == pytest.approx(sum(report.margins) / 40)


def test_training_the_upper_layers_over_kept_states_equals_training_them_through_all_layers(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import studio.ml.training.setup as setup

    seen = []
    for name in ("kept", "all"):
        if name == "all":
            monkeypatch.setattr(setup, "open_trunk", lambda *_, **__: None)
        lora = LoraSettings(rank=4, layers="1/2", dropout=0.0)
        job = reward_job(base, tmp_path / name / "run", word_rows(16), word_rows(8, 1, "h"), lora=lora, **LEARNING)
        _, events = run(job)
        seen.append([event.loss for event in steps(events)] + list(report_of(events).margins))
    assert list((tmp_path / "kept" / "cache" / "states").rglob("*.bin"))
    assert seen[0] == pytest.approx(seen[1], abs=2e-2)


def test_an_encoder_learns_as_well(learned_encoder: tuple[RewardJob, list[Any]]) -> None:
    report = report_of(learned_encoder[1])
    assert report.hits / report.n > 0.9
    assert report.learned


def test_labels_drawn_by_lot_are_not_called_learned(base: Path, tmp_path: Path) -> None:
    rows, unseen = word_rows(64, 2, noise=True), word_rows(40, 3, "h", noise=True)
    report = report_of(run(reward_job(base, tmp_path / "run", rows, unseen, **LEARNING))[1])
    assert not report.learned
    assert report.low < 0.5 < report.high


def test_steps_tell_the_whole_run(learned: tuple[RewardJob, TrainingResult, list[Any]]) -> None:
    _, result, events = learned
    told = steps(events)
    assert [event.step for event in told] == list(range(1, 41))
    assert {event.total for event in told} == {40}
    assert told[-1].loss < 0.3 < told[0].loss
    assert told[-1].margin == pytest.approx(told[-1].reward_chosen - told[-1].reward_rejected)
    assert told[-1].accuracy == 1.0
    assert told[-1].eta == 0 < told[3].eta
    assert told[0].learning_rate == pytest.approx(5e-3)
    assert all(event.grad_norm > 0 and event.tokens_per_second > 0 for event in told)
    assert all(math.isnan(event.logp_chosen) and math.isnan(event.logp_rejected) for event in told)
    assert not result.stopped
    assert not (learned[0].folder / "checkpoint").exists()


def test_accumulated_micro_batches_are_told_as_one_step(base: Path, tmp_path: Path) -> None:
    whole, split = (
        make_steps(base, tmp_path / f"batch-{size}", batch_size=size, gradient_accumulation=parts)
        for size, parts in ((4, 1), (2, 2))
    )
    assert [e.step for e in split] == [e.step for e in whole] == list(range(1, 7))
    for a, b in zip(whole, split, strict=True):
        assert b.loss == pytest.approx(a.loss, abs=0.02)
        assert b.grad_norm == pytest.approx(a.grad_norm, rel=0.1)


def make_steps(base: Path, folder: Path, **settings: Any) -> list[StepEvent]:
    return steps(run(reward_job(base, folder, **settings))[1])


def test_equal_seeds_give_equal_heads_and_other_seeds_other_ones(base: Path, tmp_path: Path) -> None:
    first, again, other = (
        make_steps(base, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert [e.loss for e in first] == [e.loss for e in again]
    assert other[0].reward_chosen != first[0].reward_chosen


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["causal", *ENCODERS])
def test_plain_peft_loads_the_adapter_with_equal_scores(base: Path, tmp_path: Path, which: Any) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    where = base if which == "causal" else make_encoder(tmp_path / which, which)
    job = reward_job(where, tmp_path / "run", learning_rate=1e-2)
    run(job)
    assert sorted(path.name for path in job.folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((job.folder / "adapter_config.json").read_text())
    assert (config["task_type"], config["base_model_name_or_path"]) == ("SEQ_CLS", "embedded")
    heads = {
        "causal": ["score"],
        "roberta": ["classifier"],
        "distilbert": ["classifier", "pre_classifier"],
        "bert": ["bert.pooler.dense", "classifier"],
    }[which]
    assert config["modules_to_save"] == heads
    saved = load_file(job.folder / "adapter_model.safetensors")
    assert not [name for name in saved if "lora" in name and any(f".{head}." in name for head in heads)]

    tokenizer = AutoTokenizer.from_pretrained(where)
    model = AutoModelForSequenceClassification.from_pretrained(where, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    plain = PeftModel.from_pretrained(model, str(job.folder)).eval()
    scorer = RewardScorer(where, job.folder, device="cpu")
    for row in job.heldout:
        encoded = encode_answer(scorer._tokenizer, [Message("user", row.prompt)], row.chosen, 128)
        assert encoded is not None
        with torch.no_grad():
            theirs = plain(input_ids=torch.tensor([encoded[0].ids])).logits.item()
        assert reward_of(scorer, row.prompt, row.chosen) == pytest.approx(theirs, abs=1e-5)


def test_the_report_is_what_the_scorer_says(learned: tuple[RewardJob, TrainingResult, list[Any]], base: Path) -> None:
    job, _, events = learned
    scorer = RewardScorer(base, job.folder, device="cpu")
    margins = [reward_of(scorer, r.prompt, r.chosen) - reward_of(scorer, r.prompt, r.rejected) for r in job.heldout]
    # trained in bfloat16 where the processor has it, scored in float32
    assert margins == pytest.approx(list(report_of(events).margins), abs=0.25)


# --- stop and resume --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_resumed_run_goes_on_exactly(base: Path, tmp_path: Path, dropout: float) -> None:
    settings = {"epochs": 3, "learning_rate": 5e-3, "lora": LoraSettings(dropout=dropout), "warmup_ratio": 0.2}
    _, whole = run(reward_job(base, tmp_path / "whole", **settings))
    job = reward_job(base, tmp_path / "parts", **settings)
    result, events = run(job, lambda told: len(steps(told)) >= 4)
    assert (result.steps, result.stopped) == (4, True)
    assert [path.name for path in (job.folder / "checkpoint").iterdir()] == ["checkpoint-4"]
    assert (job.folder / "adapter_model.safetensors").is_file()
    assert not list(job.folder.rglob("training_args.bin"))
    assert report_of(events).step == 4  # cheap on a base this small
    result, rest = run(replace(job, resume=True))
    assert (result.steps, result.stopped) == (9, False)
    parts = steps(events) + steps(rest)
    assert [e.step for e in parts] == list(range(1, 10))
    for a, b in zip(steps(whole), parts, strict=True):
        assert (b.loss, b.margin, b.grad_norm, b.learning_rate) == (a.loss, a.margin, a.grad_norm, a.learning_rate)
    assert report_of(rest) == report_of(whole)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (job.folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (job.folder / "checkpoint").exists()


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_ends_the_run(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0] = math.nan
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    job = reward_job(broken, tmp_path / "run")
    with pytest.raises(TrainingError, match=r"loss became nan at step 1;.*smaller learning rate \(now 0\.001\)"):
        run(job)
    assert not list(job.folder.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scheduler": "bouncy"}, "scheduler is 'bouncy'"),
        ({"epochs": -1.0}, "epochs is -1.0"),
        ({"center_rewards": -1.0}, "center_rewards is -1.0"),
        ({"center_rewards": math.nan}, "center_rewards is nan"),
        ({"load_in_4bit": True}, "CUDA"),
        ({"lora": LoraSettings(target_modules="nowhere")}, "target_modules is 'nowhere'"),
    ],
)
def test_settings_that_cannot_train_are_named(base: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        run(reward_job(base, tmp_path / "run", **change))


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    where = make_encoder(tmp_path / "t5")
    (where / "model.safetensors").unlink()
    config = T5Config(vocab_size=400, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=1)
    T5ForConditionalGeneration(config).save_pretrained(where)
    with pytest.raises(ModelLoadError, match="encoder-decoder; choose an encoder"):
        run(reward_job(where, tmp_path / "run"))


def test_a_classifier_of_three_classes_is_a_base(encoder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    where = tmp_path / "classifier"
    shutil.copytree(encoder, where)
    AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3).save_pretrained(where)
    assert run(reward_job(where, tmp_path / "run", epochs=1))[0].steps == 3


# --- the report, worked by hand ---------------------------------------------------------------------------------------


def test_accuracy_is_counted_per_pair(learned: tuple[RewardJob, TrainingResult, list[Any]]) -> None:
    report = report_of(learned[2])
    assert report.hits == sum(margin > 0 for margin in report.margins)
    assert len(report.margins) == report.n == 40
