"""What a chat is to the model: token ids that fit its context, and the tokens that end an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.domain.data import Message
from studio.errors import InputError
from studio.ml.models.loading import render_chat
from studio.ml.models.seq2seq import encoder_text

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends an answer, as the model's generation settings and the tokenizer name them."""
    named: Any = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = set(named) if isinstance(named, list | tuple) else {named}
    return {int(i) for i in ids | {tokenizer.eos_token_id} if i is not None}


def plain_generation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: set[int]) -> GenerationConfig:
    """Greedy settings without the model's own defaults (repetition penalty, top-k, beams), which would mix into every
    comparison. What an encoder-decoder's answers start with is no such default and stays."""
    from transformers import GenerationConfig

    named = model.generation_config
    start = getattr(named, "decoder_start_token_id", None)
    return GenerationConfig(
        do_sample=False,
        eos_token_id=sorted(ends) or None,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None) if start is None else start,
        forced_bos_token_id=getattr(named, "forced_bos_token_id", None),
    )


def chat_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], seq2seq: bool = False) -> list[int]:
    """Token ids of a conversation up to its next answer, for a causal model or for the encoder of an encoder-decoder.

    Raises:
        InputError: as :func:`studio.ml.models.loading.render_chat`.
    """
    if seq2seq:
        return list(tokenizer(encoder_text(messages))["input_ids"])
    return list(tokenizer(render_chat(tokenizer, messages), add_special_tokens=False)["input_ids"])


def fit_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], limit: int, room: int, seq2seq: bool = False
) -> tuple[list[int], str]:
    """Token ids of a chat, its oldest turns left out until the prompt and an answer of ``room`` tokens fit (at most a
    quarter of the context is kept free for the answer; nothing for an encoder-decoder, whose answer stands apart), and a
    note if any were.

    Raises:
        InputError: the last question alone does not fit into ``limit`` tokens.
    """
    free = 0 if seq2seq else min(room, limit // 4)
    system = [m for m in messages if m.role == "system"]
    turns = [m for m in messages if m.role != "system"]
    dropped = 0
    while True:
        ids = chat_ids(tokenizer, [*system, *turns], seq2seq)
        if len(ids) + free <= limit:
            note = f"The oldest {dropped} messages no longer fit into the model's context." if dropped else ""
            return ids, note
        if len(turns) < 3:
            raise InputError(f"The message has {len(ids)} tokens; this model reads {limit - free} at most.")
        # a question and its answer go together, so that the chat still starts with a question
        turns, dropped = turns[2:], dropped + 2
