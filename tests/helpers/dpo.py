"""A tiny random base with a tokenizer of its own, rows and jobs for the tests of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.domain.data import PreferencePair, PreferenceRow
from studio.domain.runs import BaseModelRef, DpoSettings, LoraSettings, Recipe
from studio.ml.dpo.run import DpoJob

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
    recipe = Recipe(
        run_id="test-run",
        title="test",
        method="dpo",
        base=BaseModelRef("embedded"),
        dataset_id="made-up",
        dataset_title="made up",
        dataset_hash="0",
        dataset_kind="sides",
        support_ratio=ratio,
        data_size=count,
        shuffle=False,
        system_prompt=system_prompt,
        preset="",
        lora=lora or LoraSettings(),
        dpo=settings,
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
        threads=1,
        device="cpu",
        trust_remote_code=False,
    )


def load(base: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(base)
