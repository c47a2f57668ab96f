"""What a chat is to the model: token ids that fit its context, and the tokens that end an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.domain import Message
from studio.errors import InputError
from studio.ml.loading import render_chat

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends an answer, as the model's generation settings and the tokenizer name them."""
    named: Any = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = set(named) if isinstance(named, list | tuple) else {named}
    return {int(i) for i in ids | {tokenizer.eos_token_id} if i is not None}


def fit_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], limit: int, room: int
) -> tuple[list[int], str]:
    """Token ids of a chat, its oldest turns left out until the prompt and an answer of ``room`` tokens fit (at most a
    quarter of the context is kept free for the answer), and a note if any were.

    Raises:
        InputError: the last question alone does not fit into ``limit`` tokens.
    """
    free = min(room, limit // 4)
    system = [m for m in messages if m.role == "system"]
    turns = [m for m in messages if m.role != "system"]
    dropped = 0
    while True:
        text = render_chat(tokenizer, [*system, *turns])
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        if len(ids) + free <= limit:
            note = f"The oldest {dropped} messages no longer fit into the model's context." if dropped else ""
            return ids, note
        if len(turns) < 3:
            raise InputError(f"The message has {len(ids)} tokens; this model reads {limit - free} at most.")
        # a question and its answer go together, so that the chat still starts with a question
        turns, dropped = turns[2:], dropped + 2
