"""Rows of a reward run: tokens, loss and gradient of TRL, and what is too long."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.data import Message, PreferenceRow
from studio.errors import RecipeError
from studio.ml.models.loading import load_tokenizer
from studio.ml.reward.base import load_reward_base
from studio.ml.reward.rows import encode_answer, encode_rows
from studio.ml.reward.trainer import RewardCollator, trainer_class
from tests.helpers.reward import make_encoder, reward_job, word_rows
from tests.helpers.reward_runs import report_of, run, steps

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
    ours = make(trainer_class(), "ours", data, pairs=encoded.pairs, data_collator=collator, base_id="embedded")

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


@pytest.mark.parametrize("which", ["causal", "roberta"])
def test_both_answers_of_a_pair_are_read_behind_the_same_part_of_a_long_prompt(
    base: Path, tmp_path: Path, which: Any
) -> None:
    tokenizer = load_tokenizer(base if which == "causal" else make_encoder(tmp_path / which, which))
    row = replace(word_rows(1)[0], prompt="river " * 40, chosen="silver lamp", rejected="garden " * 20)
    (pair,) = encode_rows(tokenizer, [row], "", 512, "Row").pairs
    limit = len(pair[1]) - 9
    assert len(pair[0]) < limit, "alone it would not be cut"
    encoded = encode_rows(tokenizer, [row], "", limit, "Row")
    chosen, rejected = encoded.pairs[0]
    assert chosen.prompt_ids == rejected.prompt_ids
    assert len(rejected) == limit
    assert (chosen.answer_ids, rejected.answer_ids) == (pair[0].answer_ids, pair[1].answer_ids)
    assert encoded.cut == 2


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
