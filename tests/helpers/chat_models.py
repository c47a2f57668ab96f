"""Random-weight bases of the architectures people chat with, and adapters of them written by PEFT itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studio.config import ROOT
from studio.domain.runs import BaseModelRef
from studio.ml.chat.engine import BaseSource
from studio.ml.models.loading import fingerprint

#: The base that is shipped.
EMBEDDED = ROOT / "data" / "embedded"

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 264,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}
#: As SmolLM2-135M.
LLAMA_135M = {
    **SMALL,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "initializer_range": 0.02,
}


def make_tokenizer(folder: Path, template: str | None = TEMPLATE) -> None:
    """A byte-level tokenizer: one token a byte, so that a Chinese character takes three."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    words = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<|pad|>", eos_token="<|end|>")
    if template:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def make_base(folder: Path, kind: str = "llama", dtype: str = "float32", seed: int = 0, **config: Any) -> Path:
    """Write a random base of ``kind`` (llama, qwen2, qwen3, mistral), about 30 k weights unless ``config`` says more."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(folder)
    torch.manual_seed(seed)
    settings = {**SMALL, **({"head_dim": 8} if kind == "qwen3" else {}), **config}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path, seed: int = 1, std: float = 0.1, **lora: Any) -> Path:
    """Write a random LoRA adapter of ``base`` as PEFT saves it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **lora}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**settings))
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=std)
    model.save_pretrained(folder)
    return folder


def source(base: Path, load_in_4bit: bool = False) -> BaseSource:
    """A base as the engine is given it."""
    return BaseSource(BaseModelRef(str(base), fingerprint=fingerprint(base)), base, load_in_4bit)
