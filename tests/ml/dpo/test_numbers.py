"""A DPO step has the numbers of TRL, PEFT and plain autograd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.domain.settings import LOSS_TYPES
from studio.ml.dpo.setup import DpoJob
from studio.ml.dpo.trainer import PairCollator, trainer_class
from studio.ml.lora.fused import fuse_lora
from studio.ml.training.logprobs import answer_log_probs, token_log_probs
from studio.ml.training.pairs import EncodedAnswer, encode_rows
from studio.ml.training.reference import ReferenceCache
from tests.helpers.dpo import check_same_as_trl, load, make_job


def wrapped(base: Path, **lora: Any) -> tuple[Any, Any]:
    """A base with an adapter that is not zero, in float32, and its tokenizer."""
    import torch
    from peft import LoraConfig, get_peft_model

    model, tokenizer = load(base)
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", **lora))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model, tokenizer


# --- the same numbers as TRL ------------------------------------------------------------------------------------------


def trl_trainer(base: Path, job: DpoJob, folder: Path, **options: Any) -> Any:
    """TRL's own trainer over the same rows, told as conversations."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = load(base)
    system = [{"role": "system", "content": job.recipe.system_prompt}] if job.recipe.system_prompt else []
    rows = [
        {
            "prompt": [*system, {"role": "user", "content": row.prompt}],
            "chosen": [{"role": "assistant", "content": row.chosen}],
            "rejected": [{"role": "assistant", "content": row.rejected}],
        }
        for row in job.rows
    ]
    return DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=str(folder),
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            report_to=[],
            disable_tqdm=True,
            max_length=None,
            **options,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


@pytest.mark.parametrize("system_prompt", ["", "Answer in one sentence."])
def test_tokens_and_log_probs_are_those_of_trl(base: Path, tmp_path: Path, system_prompt: str) -> None:
    job = make_job(base, tmp_path / "run", system_prompt=system_prompt)
    trl = trl_trainer(base, job, tmp_path / "trl")
    model, tokenizer = load(base)
    pairs = encode_rows(tokenizer, job.rows, system_prompt, 512)
    for (chosen, rejected), theirs in zip(pairs, trl.train_dataset, strict=True):
        assert list(chosen.prompt_ids) == list(rejected.prompt_ids) == theirs["prompt_ids"]
        assert list(chosen.answer_ids) == theirs["chosen_ids"]
        assert list(rejected.answer_ids) == theirs["rejected_ids"]
    batch = trl.data_collator([trl.train_dataset[index] for index in range(len(pairs))])
    chosen_sums, rejected_sums = trl.compute_ref_log_probs(trl.model, batch)
    ours = answer_log_probs(model, [c for c, _ in pairs] + [r for _, r in pairs], 0, batch_tokens=200)
    assert ours == pytest.approx([*chosen_sums.tolist(), *rejected_sums.tolist()], abs=1e-4)


@pytest.mark.parametrize(("loss_type", "sft_weight"), [*((name, 0.0) for name in LOSS_TYPES), ("sigmoid", 0.5)])
def test_loss_and_gradient_are_those_of_trl(base: Path, tmp_path: Path, loss_type: str, sft_weight: float) -> None:
    job = make_job(base, tmp_path / "run", count=6)
    options = {"beta": 0.3, "label_smoothing": 0.1}
    both = {"loss_type": [loss_type, "sft"], "loss_weights": [1.0, sft_weight]}
    trl = trl_trainer(base, job, tmp_path / "trl", **options, **(both if sft_weight else {"loss_type": [loss_type]}))
    check_same_as_trl(trl, studio_trainer(base, job, tmp_path / "ours", sft_weight, loss_type=[loss_type], **options))


def studio_trainer(base: Path, job: DpoJob, folder: Path, sft_weight: float = 0.0, **options: Any) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig

    model, tokenizer = load(base)
    pairs = encode_rows(tokenizer, job.rows, "", 512)
    return trainer_class()(
        pairs=pairs,
        reference=ReferenceCache(None, ""),
        sft_weight=sft_weight,
        base_id="embedded",
        model=model,
        args=DPOConfig(
            output_dir=str(folder), use_cpu=True, bf16=False, activation_checkpointing=False, report_to=[], **options
        ),
        data_collator=PairCollator(pairs, 0),
        train_dataset=Dataset.from_dict({"row": list(range(len(pairs)))}),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


@pytest.mark.parametrize(("scale", "softcap"), [(1.0, 0.0), (0.5, 0.0), (2.0, 3.0)])
def test_log_probs_and_their_gradient_match_plain_autograd(base: Path, scale: float, softcap: float) -> None:
    import torch

    model, _ = load(base)
    model.config.logit_scale = scale
    model.config.final_logit_softcapping = softcap or None
    torch.manual_seed(0)
    ids, mask = torch.randint(5, 400, (3, 20)), torch.zeros(3, 20, dtype=torch.bool)
    mask[0, 5:], mask[1, 12:15] = True, True  # the third row has no answer at all
    parameter = model.model.layers[0].mlp.up_proj.weight

    scores = token_log_probs(model, ids, mask)
    (gradient,) = torch.autograd.grad((scores * torch.arange(19)).sum(), parameter)

    logits = model.lm_head(model.model(input_ids=ids).last_hidden_state) * scale
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    plain = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[:, :, 0] * mask[:, 1:]
    (expected,) = torch.autograd.grad((plain * torch.arange(19)).sum(), parameter)
    torch.testing.assert_close(scores, plain, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


def test_fused_lora_is_pefts_arithmetic(base: Path) -> None:
    import torch

    answers = [EncodedAnswer(tuple(range(5, 15)), tuple(range(20, 30 + extra))) for extra in (0, 4)]
    plain, _ = wrapped(base)
    fused, _ = wrapped(base)
    assert fuse_lora(fused) == 2 * 7
    assert answer_log_probs(fused, answers, 0) == pytest.approx(answer_log_probs(plain, answers, 0), abs=1e-4)
    with fused.disable_adapter(), plain.disable_adapter():
        assert answer_log_probs(fused, answers, 0) == answer_log_probs(plain, answers, 0)
    ids = torch.randint(5, 400, (2, 12), generator=torch.Generator().manual_seed(0))
    for model in (plain, fused):
        token_log_probs(model, ids, torch.ones_like(ids).bool()).sum().backward()
    theirs = dict(plain.named_parameters())
    for name, parameter in fused.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=1e-4, rtol=1e-3)


def test_layers_with_dropout_keep_pefts_own_forward(base: Path) -> None:
    model, _ = wrapped(base, lora_dropout=0.1)
    assert fuse_lora(model) == 0
