"""A T5 small enough to be made in a test: random weights, a tokenizer of some words, and a copy task learned in seconds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

WORDS = ["red", "blue", "green", "gold", "good", "bad", "warm", "cold", "tea", "milk", "sun", "rain"]
ASK = "repeat :"


def make_t5(folder: Path, steps: int = 0, seed: int = 0) -> Path:
    """Write a T5 of 50 k weights and its word tokenizer; ``steps`` of training (250 take five seconds) teach it to repeat the
    two or three words it is given behind :data:`ASK`."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    model: Any = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=32,
            d_kv=16,
            d_ff=64,
            num_layers=2,
            num_heads=2,
            dropout_rate=0.1,  # as FLAN-T5, so that tests see whether it is off where it has to be
            feed_forward_proj="gated-gelu",
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    if steps:
        _teach(model.eval(), tokenizer, steps, random.Random(seed))
    model.save_pretrained(folder)
    return folder


def make_tokenizer() -> Any:
    """One token a word, ``</s>`` behind every text, as T5's own tokenizer puts it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<pad>", "</s>", "<unk>"]
    words.train_from_iterator(
        [" ".join([*WORDS, ASK, "User Assistant"])], trainers.WordLevelTrainer(special_tokens=special)
    )
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=128
    )


def make_adapter(folder: Path, base: Path, seed: int = 1, std: float = 0.3) -> Path:
    """A random LoRA adapter on q and v, as PEFT saves it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSeq2SeqLM

    config = LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, lora_alpha=8, target_modules=["q", "v"])
    model = get_peft_model(AutoModelForSeq2SeqLM.from_pretrained(base), config)
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=std)
    model.save_pretrained(folder)
    return folder


def _teach(model: Any, tokenizer: Any, steps: int, dice: random.Random) -> None:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(1.0, step / 20) * (1 - step / steps)
        texts = [" ".join(dice.sample(WORDS, dice.choice([2, 3]))) for _ in range(64)]
        asked = tokenizer([f"{ASK} {text}" for text in texts], padding=True, return_tensors="pt")
        labels = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
        labels[labels == tokenizer.pad_token_id] = -100
        loss = model(input_ids=asked["input_ids"], attention_mask=asked["attention_mask"], labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
