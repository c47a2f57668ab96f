"""Rows with something to learn in them, tiny random bases of both kinds, and reward jobs over them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from studio.domain.data import Message, PreferenceRow
from studio.domain.runs import BaseModelRef, RewardRecipe
from studio.domain.settings import LoraSettings, RewardSettings
from studio.ml.reward.run import RewardJob
from studio.ml.reward.scorer import RewardScorer
from tests.helpers.dpo import make_pairs

_WORDS = ["river", "stone", "cloud", "lamp", "garden", "window", "paper", "silver", "morning", "bread"]


def word_rows(count: int, seed: int = 0, tag: str = "w", noise: bool = False) -> tuple[PreferenceRow, ...]:
    """Rows whose chosen answer closes with "gladly" and whose rejected one never says it, lengths drawn alike (what a random
    base of two layers can learn). With ``noise`` the labels are drawn by lot."""
    draw = random.Random(seed)

    def words(low: int, high: int) -> list[str]:
        return [draw.choice(_WORDS) for _ in range(draw.randint(low, high))]

    rows = []
    for index in range(count):
        good, bad = words(3, 7), words(4, 8)
        good.append("gladly")
        answers = [" ".join(good), " ".join(bad)]
        if noise:
            draw.shuffle(answers)
        prompt = f"Tell of {' '.join(words(1, 3))} {index}."
        rows.append(PreferenceRow(f"{tag}{index}", prompt, *answers, side="support", flipped=False))
    return tuple(rows)


def make_encoder(
    folder: Path, kind: Literal["roberta", "distilbert", "bert"] = "roberta", positions: int = 130
) -> Path:
    """Write a tiny random encoder and a tokenizer without chat template that frames a text with two special tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import (
        BertConfig,
        BertModel,
        DistilBertConfig,
        DistilBertModel,
        PreTrainedTokenizerFast,
        RobertaConfig,
        RobertaModel,
    )

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    texts = [t for pair in make_pairs(20) for t in (pair.prompt, pair.support, pair.oppose)]
    texts += [t for row in word_rows(40) for t in (row.prompt, row.chosen, row.rejected)]
    words.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<s>", "<pad>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    special: dict[str, Any] = {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
    if kind == "roberta":
        special |= {"bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    torch.manual_seed(0)
    shared: dict[str, Any] = {"vocab_size": 400, "pad_token_id": 1, "max_position_embeddings": positions}
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "initializer_range": 0.2,
    }
    model: Any
    if kind == "roberta":
        model = RobertaModel(RobertaConfig(**shared, **sizes, type_vocab_size=1), add_pooling_layer=False)
    elif kind == "bert":
        model = BertModel(BertConfig(**shared, **sizes), add_pooling_layer=False)
    else:
        model = DistilBertModel(
            DistilBertConfig(**shared, dim=32, n_layers=2, n_heads=4, hidden_dim=64, initializer_range=0.2)
        )
    model.save_pretrained(folder)
    return folder


def reward_job(
    base: Path,
    folder: Path,
    rows: Sequence[PreferenceRow] = (),
    heldout: Sequence[PreferenceRow] = (),
    *,
    kind: Literal["sides", "labels"] = "labels",
    system_prompt: str = "",
    lora: LoraSettings | None = None,
    **settings: Any,
) -> RewardJob:
    """A job over word rows, or those given; ``settings`` overrides the small settings used here."""
    rows, heldout = tuple(rows) or word_rows(12), tuple(heldout) or word_rows(6, 1, "h")
    folder.mkdir(parents=True, exist_ok=True)
    recipe = RewardRecipe(
        run_id="test-reward",
        title="test",
        base=BaseModelRef("embedded"),
        dataset_id="made-up",
        dataset_title="made up",
        dataset_hash="0",
        dataset_kind=kind,
        support_ratio=1.0,
        system_prompt=system_prompt,
        preset="",
        lora=lora or LoraSettings(),
        row_ids=tuple(row.pair_id for row in rows),
        rows_support=tuple(row.side == "support" for row in rows),
        created=0.0,
        versions={},
        settings=replace(RewardSettings(batch_size=4, epochs=2, probe_every=2, warmup_ratio=0.0), **settings),
    )
    return RewardJob(
        recipe=recipe,
        rows=rows,
        heldout=heldout,
        base_path=base,
        folder=folder,
        cache_dir=folder.parent / "cache",
        resume=False,
        threads=lambda: 1,
        device="cpu",
        trust_remote_code=False,
    )


def rewards(scorer: RewardScorer, conversations: Sequence[Sequence[Message]]) -> list[float]:
    """The rewards of conversations, without what was cut."""
    return [scored.reward for scored in scorer.scored(conversations)]


def reward_of(scorer: RewardScorer, prompt: str, response: str) -> float:
    """The reward of one answer to one prompt."""
    return rewards(scorer, [[Message("user", prompt), Message("assistant", response)]])[0]
