"""Reward runs on tiny random bases: TRL's numbers, what is learned and what is not, stop and resume, what goes wrong."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dpo_helpers import make_base
from reward_helpers import make_encoder, reward_job, word_rows

from studio.domain import LoraSettings, Message, PreferenceRow
from studio.errors import ModelLoadError, RecipeError, TrainingError
from studio.events import ProbeEvent, RewardReport, StepEvent
from studio.ml.loading import load_tokenizer
from studio.ml.reward import RewardJob, RewardResult, train_reward
from studio.ml.reward_base import load_reward_base
from studio.ml.reward_report import calibration, longer_share, majority_share, make_report
from studio.ml.reward_rows import encode_answer, encode_rows
from studio.ml.reward_trainer import RewardCollator, trainer_class
from studio.ml.scoring import RewardScorer

ENCODERS = ("roberta", "distilbert", "bert")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("roberta"))


def run(
    job: RewardJob, should_stop: Callable[[list[Any]], bool] = lambda events: False
) -> tuple[RewardResult, list[Any]]:
    events: list[Any] = []
    result = train_reward(job, events.append, lambda: should_stop(events))
    return result, events


def steps(events: list[Any]) -> list[StepEvent]:
    return [event for event in events if isinstance(event, StepEvent)]


def report_of(events: list[Any]) -> RewardReport:
    (report,) = [event for event in events if isinstance(event, RewardReport)]
    return report


# --- the same numbers as TRL ------------------------------------------------------------------------------------------


def test_tokens_loss_and_gradient_are_those_of_trl(base: Path, tmp_path: Path) -> None:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import RewardConfig, RewardTrainer

    rows = word_rows(5)
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = str(tokenizer.chat_template)
    options: dict[str, Any] = {
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "report_to": [],
        "disable_tqdm": True,
        "max_length": None,
        "center_rewards_coefficient": 0.1,
    }

    def make(cls: Any, where: str, data: Any, **more: Any) -> Any:
        model = load_reward_base(base, tokenizer, device="cpu", dtype="float32", seed=3).model
        lora = LoraConfig(r=4, target_modules="all-linear", task_type="SEQ_CLS", modules_to_save=["score"])
        torch.manual_seed(1)
        return cls(
            model=model,
            args=RewardConfig(output_dir=str(tmp_path / where), **options),
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=lora,
            **more,
        )

    def turns(row: PreferenceRow, answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": row.prompt}, {"role": "assistant", "content": answer}]

    theirs = make(
        RewardTrainer,
        "trl",
        Dataset.from_list([{"chosen": turns(r, r.chosen), "rejected": turns(r, r.rejected)} for r in rows]),
    )
    encoded = encode_rows(tokenizer, rows, "", 512, "Row")
    assert [[list(a.ids) for a in pair] for pair in encoded.pairs] == [
        [row["chosen_ids"], row["rejected_ids"]] for row in theirs.train_dataset
    ]
    collator = RewardCollator(encoded.pairs, tokenizer.pad_token_id)
    data = Dataset.from_dict({"row": list(range(5))})
    ours = make(trainer_class(), "ours", data, data_collator=collator, base_id="embedded")

    losses = []
    for trainer, batch in (
        (theirs, theirs.data_collator([theirs.train_dataset[i] for i in range(5)])),
        (ours, collator([{"row": i} for i in range(5)])),
    ):
        trainer.model.train()
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    gradients = {name: p.grad for name, p in theirs.model.named_parameters() if p.requires_grad}
    assert any("score" in name for name in gradients)
    for name, parameter in ours.model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-4)


# --- what is learned --------------------------------------------------------------------------------------------------

LEARNING: dict[str, Any] = {"epochs": 5, "learning_rate": 5e-3, "batch_size": 8, "probe_every": 10}


@pytest.fixture(scope="module")
def learned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardJob, RewardResult, list[Any]]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    job = reward_job(base, folder, word_rows(64), word_rows(40, 1, "h"), **LEARNING)
    return job, *run(job)


@pytest.fixture(scope="module")
def learned_encoder(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardJob, list[Any]]:
    folder = tmp_path_factory.mktemp("encoder-runs") / "run"
    job = reward_job(encoder, folder, word_rows(64), word_rows(40, 1, "h"), **LEARNING)
    return job, run(job)[1]


def test_a_preference_that_can_be_learned_is_learned(learned: tuple[RewardJob, RewardResult, list[Any]]) -> None:
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


def test_an_encoder_learns_as_well(learned_encoder: tuple[RewardJob, list[Any]]) -> None:
    report = report_of(learned_encoder[1])
    assert report.hits / report.n > 0.9
    assert report.learned


def test_labels_drawn_by_lot_are_not_called_learned(base: Path, tmp_path: Path) -> None:
    rows, unseen = word_rows(64, 2, noise=True), word_rows(40, 3, "h", noise=True)
    report = report_of(run(reward_job(base, tmp_path / "run", rows, unseen, **LEARNING))[1])
    assert not report.learned
    assert report.low < 0.5 < report.high


def test_steps_tell_the_whole_run(learned: tuple[RewardJob, RewardResult, list[Any]]) -> None:
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
        assert scorer.get_score(row.prompt, row.chosen) == pytest.approx(theirs, abs=1e-5)


def test_the_report_is_what_the_scorer_says(learned: tuple[RewardJob, RewardResult, list[Any]], base: Path) -> None:
    job, _, events = learned
    scorer = RewardScorer(base, job.folder, device="cpu")
    margins = [scorer.get_score(r.prompt, r.chosen) - scorer.get_score(r.prompt, r.rejected) for r in job.heldout]
    # trained in bfloat16 where the processor has it, scored in float32
    assert margins == pytest.approx(list(report_of(events).margins), abs=0.25)


# --- what is too long -------------------------------------------------------------------------------------------------


def test_rows_whose_answer_does_not_fit_are_dropped_and_counted(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, unseen = word_rows(6), word_rows(5, 1, "h")
    long = " ".join(["garden"] * 300)
    rows = (replace(rows[0], rejected=long), replace(rows[1], rejected=rows[1].chosen + " "), *rows[2:])
    unseen = (replace(unseen[0], chosen=long), *unseen[1:])
    with caplog.at_level(logging.WARNING):
        _, events = run(reward_job(base, tmp_path / "run", rows, unseen, max_length=60, epochs=1))
    report = report_of(events)
    assert (report.dropped, report.n) == (3, 4)
    assert steps(events)[-1].total == 1
    assert "1 with an answer longer than 60 tokens, 1 with two equal answers" in caplog.text


def test_no_usable_row_is_refused(base: Path, tmp_path: Path) -> None:
    rows = [replace(row, chosen=row.chosen * 40) for row in word_rows(3)]
    with pytest.raises(RecipeError, match=r"None of the 3 training rows can be used: .*max_length \(60\)"):
        run(reward_job(base, tmp_path / "run", rows, max_length=60))


@pytest.mark.parametrize("which", ["causal", "roberta", "bert"])
def test_a_long_prompt_loses_its_oldest_tokens_and_the_answer_stays_whole(
    base: Path, tmp_path: Path, which: Any
) -> None:
    where = base if which == "causal" else make_encoder(tmp_path / which, which)
    tokenizer = load_tokenizer(where)
    before = [Message("user", "stone"), Message("assistant", "cloud"), Message("user", "river " * 30)]
    whole = encode_answer(tokenizer, before, "silver lamp", 512)
    assert whole is not None
    full, lost = whole
    assert lost == 0
    first = 0 if which == "causal" else 1
    text = tokenizer.decode(full.ids)
    assert text.count("river") == 30
    if first:
        assert text.startswith("<s>")
        assert text.endswith("</s>")
        assert (text.count("<s>"), text.count("</s>")) == (1, 1)
    cut = encode_answer(tokenizer, before, "silver lamp", len(full) - 9)
    assert cut is not None
    assert cut[1] == 9
    assert cut[0].ids == (*full.ids[:first], *full.ids[first + 9 :])
    assert cut[0].answer_ids == full.answer_ids
    smallest = first + len(full.answer_ids)
    fits = encode_answer(tokenizer, before, "silver lamp", smallest)
    assert fits is not None
    assert fits[0].ids == (*full.ids[:first], *full.answer_ids)
    assert encode_answer(tokenizer, before, "silver lamp", smallest - 1) is None


def test_an_encoders_positions_are_its_limit(tmp_path: Path) -> None:
    """RoBERTa counts positions from behind the padding's index: 66 of them hold 64 tokens."""
    where = make_encoder(tmp_path / "roberta", "roberta", positions=66)
    base = load_reward_base(where, load_tokenizer(where), device="cpu", dtype="float32", seed=0)
    assert base.limit == 64
    rows = [replace(row, prompt="river " * 200) for row in word_rows(4)]
    _, events = run(reward_job(where, tmp_path / "run", rows, rows, epochs=1))
    assert (report_of(events).n, report_of(events).dropped) == (4, 0)


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
        ({"epochs": 0.0}, "epochs is 0.0"),
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


def row(side: Any, chosen: str, rejected: str) -> PreferenceRow:
    return PreferenceRow("x", "p", chosen, rejected, side, side == "oppose")


def test_accuracy_is_counted_per_pair(learned: tuple[RewardJob, RewardResult, list[Any]]) -> None:
    report = report_of(learned[2])
    assert report.hits == sum(margin > 0 for margin in report.margins)
    assert len(report.margins) == report.n == 40


def test_the_report_against_figures_worked_by_hand() -> None:
    # Nine pairs, five right, one tie: TRL at batch 4 would say (2/4 + 3/4 + 0/1) / 3 = .4167, the truth is 5/9.
    margins = [1.0, 2.0, -1.0, 0.0, 3.0, 0.5, 0.1, -2.0, -0.3]
    heldout = [row("support", "aaa", "b")] * 4 + [row("oppose", "a", "bb")] * 3 + [row("oppose", "aa", "bb")] * 2
    training = [row("support", "a", "b")] * 3 + [row("oppose", "a", "b")] * 2
    report = make_report(7, margins, heldout, training, True, 2)
    assert (report.step, report.n, report.hits, report.ties, report.dropped) == (7, 9, 5, 1, 2)
    # Wilson by hand: p = 5/9, z = 1.96: centre .5390, half .2776
    assert report.low == pytest.approx(0.2667, abs=1e-4)
    assert report.high == pytest.approx(0.8112, abs=1e-4)
    assert report.majority == pytest.approx(4 / 9)  # support was chosen more often in training
    assert report.longer == pytest.approx((4 + 0 + 2 * 0.5) / 9)
    assert not report.learned
    assert make_report(7, margins, heldout, training, False, 0).majority == 0.5
    assert majority_share(training[1:], heldout) == majority_share(training[2:-1], heldout) == 0.5
    assert majority_share(training[2:], heldout) == pytest.approx(5 / 9)


def test_calibration_against_figures_worked_by_hand() -> None:
    logit = {p: math.log(p / (1 - p)) for p in (0.55, 0.58, 0.75, 0.95, 0.99)}
    margins = [logit[0.55], -logit[0.58], 0.0, logit[0.75], logit[0.95], logit[0.99], -logit[0.95]]
    found = calibration(margins)
    assert [n for _, _, n in found] == [3, 1, 3]
    assert [p for p, _, _ in found] == pytest.approx([(0.55 + 0.58 + 0.5) / 3, 0.75, (0.95 + 0.99 + 0.95) / 3])
    assert [right for _, right, _ in found] == pytest.approx([1.5 / 3, 1.0, 2 / 3])
    assert calibration([900.0, -900.0]) == ((1.0, 0.5, 2),)
    assert calibration([]) == ()


def test_learning_is_claimed_above_both_baselines_only() -> None:
    right = [1.0] * 40
    short = [row("support", "a", "bb")] * 40
    assert make_report(1, right, short, [row("oppose", "a", "b")], True, 0).learned
    assert not make_report(1, right, short, [row("support", "a", "b")], True, 0).learned  # so does "always support"
    assert not make_report(1, right, [row("support", "aa", "b")] * 40, [], False, 0).learned  # so does "the longer one"
    assert make_report(1, [1.0] * 26 + [-1.0] * 14, short, [], False, 0).low < 0.5
    assert not make_report(1, [], [], [], True, 0).learned
    assert math.isnan(longer_share([]))
