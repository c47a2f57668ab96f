"""A tiny random base with a tokenizer of its own, rows and jobs for the tests of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.data import PreferencePair, PreferenceRow
from studio.domain.runs import BaseModelRef, DpoRecipe
from studio.domain.settings import DpoSettings, LoraSettings
from studio.ml.dpo.run import DpoJob
from studio.ml.lora.fused import fuse_lora

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_base(folder: Path, **config: Any) -> Path:
    """Write a random Llama (about 30 k parameters) in float32 and a byte-level tokenizer into ``folder``."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    words.train_from_iterator(
        [text for pair in make_pairs(30) for text in (pair.prompt, pair.support, pair.oppose)],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    settings = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 400,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
    }
    LlamaForCausalLM(LlamaConfig(**{**settings, **config})).save_pretrained(folder)
    return folder


def make_pairs(count: int, tag: str = "p", first: int = 0) -> tuple[PreferencePair, ...]:
    """Pairs of different lengths whose sides differ in their wording."""
    return tuple(
        PreferencePair(
            id=f"{tag}{index}",
            prompt=f"Should story {index} become a film{' at last' * (index % 3)}?",
            support=f"Yes, I support it: story {index} would shine{' with real actors' * (index % 2)}.",
            oppose=f"No, leave story {index} as it is{', drawn by hand' * (index % 4)}.",
        )
        for index in range(first, first + count)
    )


def make_job(
    base: Path,
    folder: Path,
    *,
    count: int = 12,
    ratio: float = 0.5,
    heldout: int = 4,
    resume: bool = False,
    lora: LoraSettings | None = None,
    system_prompt: str = "",
    **dpo: Any,
) -> DpoJob:
    """A job over ``count`` made-up pairs; ``dpo`` overrides the small settings used here."""
    pairs, unseen = make_pairs(count), make_pairs(heldout, "h", 100)
    supports = tuple(index < int(count * ratio) for index in range(count))
    rows = tuple(
        PreferenceRow(
            pair_id=pair.id,
            prompt=pair.prompt,
            chosen=pair.support if side else pair.oppose,
            rejected=pair.oppose if side else pair.support,
            side="support" if side else "oppose",
            flipped=not side,
        )
        for pair, side in zip(pairs, supports, strict=True)
    )
    settings = replace(DpoSettings(batch_size=4, epochs=2, probe_every=2, sample_every=3, warmup_ratio=0.0), **dpo)
    recipe = DpoRecipe(
        run_id="test-run",
        title="test",
        base=BaseModelRef("embedded"),
        dataset_id="made-up",
        dataset_title="made up",
        dataset_hash="0",
        dataset_kind="sides",
        support_ratio=ratio,
        shuffle=False,
        system_prompt=system_prompt,
        preset="",
        lora=lora or LoraSettings(),
        settings=settings,
        row_ids=tuple(pair.id for pair in pairs),
        rows_support=supports,
        created=0.0,
        versions={},
    )
    folder.mkdir(parents=True, exist_ok=True)
    return DpoJob(
        recipe=recipe,
        rows=rows,
        heldout=unseen,
        judge_pairs=pairs,
        test_prompts=(),
        base_path=base,
        folder=folder,
        cache_dir=folder.parent / "cache",
        resume=resume,
        threads=lambda: 1,
        device="cpu",
        trust_remote_code=False,
    )


def load(base: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(base)


def check_same_as_trl(trl: Any, ours: Any) -> None:
    """Loss and gradients of the first six rows are the same with TRL's trainer and with ours, both from one random adapter."""
    import torch

    torch.manual_seed(3)
    for name, parameter in trl.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    weights = {name: p.detach().clone() for name, p in trl.model.named_parameters() if p.requires_grad}
    trl.model.train()
    theirs = trl.compute_loss(trl.model, trl.data_collator([trl.train_dataset[i] for i in range(6)]))
    theirs.backward()
    gradients = {name: p.grad for name, p in trl.model.named_parameters() if p.requires_grad}
    fuse_lora(ours.model)
    mine = dict(ours.model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            mine[name].copy_(value)
    ours.model.train()
    loss = ours.compute_loss(ours.model, ours.data_collator([{"row": i} for i in range(6)]))
    loss.backward()
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-4)
    for name, gradient in gradients.items():
        torch.testing.assert_close(mine[name].grad, gradient, atol=1e-4, rtol=1e-3)
