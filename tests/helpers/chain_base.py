"""A base that always writes the same: after each token the one that a chain names, whatever stood before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.helpers.dpo import make_base

#: Answers "!", ends its turn as the template of ``helpers/dpo.py`` does, and would go on with turns of its own.
TURNS = {"<|assistant|>": "!", "!": "<|end|>", "<|end|>": "<|user|>", "<|user|>": "<|assistant|>"}
#: Answers "!" behind a heading that ends in a colon, then begins a question of its own.
QUESTIONS = {
    ":": "!",
    "!": "\n",
    "\n": "Q",
    "Q": "u",
    "u": "e",
    "e": "s",
    "s": "t",
    "t": "i",
    "i": "o",
    "o": "n",
    "n": ":",
}
#: The same where questions are headed "User:".
USERS = {":": "!", "!": "\n", "\n": "U", "U": "s", "s": "e", "e": "r", "r": ":"}
#: A template that writes its headings as plain text and ends no turn with a token.
PLAIN_HEADINGS = (
    "{% for m in messages %}{{ m.role | capitalize }}:{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def make_chain(folder: Path, chain: Mapping[str, str], template: str | None = "") -> Path:
    """The tiny base of ``helpers/dpo.py`` with weights that follow ``chain`` (token to next token). As of models like Qwen, its text
    ends with another token (``<|pad|>``) than a turn of its template does. ``template``: another chat template, or None."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make_base(folder, tie_word_embeddings=False, eos_token_id=0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = "<|pad|>"
    if template != "":
        tokenizer.chat_template = template
        (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for layer in model.model.layers:  # the residual stream carries each token's own embedding to the end
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for token, following in chain.items():
            here, there = (_id(tokenizer, text) for text in (token, following))
            embedding = model.model.embed_tokens.weight[here]
            model.lm_head.weight[there] += 2 * embedding / embedding.pow(2).mean().sqrt()
    model.save_pretrained(folder)
    return folder


def _id(tokenizer: object, text: str) -> int:
    (number,) = tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return int(number)
