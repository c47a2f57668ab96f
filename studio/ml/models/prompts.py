"""What a chat is to the model: token ids that fit its context, and where an answer ends."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.domain.data import Message
from studio.errors import InputError
from studio.ml.models.frames import NEXT_TURN, framed
from studio.ml.models.loading import render_chat
from studio.ml.models.seq2seq import encoder_text

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


#: An answer that no template writes itself, to see what follows one.
_MARK = "qzjx"


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """:func:`named_ends` of a model."""
    return named_ends(model.generation_config, tokenizer)


def named_ends(generation: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends an answer: those the generation settings of a base name, the tokenizer's, and the one with which the
    chat template closes an answer (of models like Qwen it is another than the end of the text)."""
    named: Any = generation.eos_token_id if generation is not None else None
    ids = set(named) if isinstance(named, list | tuple) else {named}
    return {int(i) for i in ids | {tokenizer.eos_token_id, _turn_end(tokenizer)} if i is not None}


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that stands behind an answer in the chat template; None where there is none."""
    ids = tokenizer(_between_turns(tokenizer).lstrip(), add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return int(ids[0]) if ids and ids[0] in special else None


def _between_turns(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the chat template writes between an answer and the next question; empty for a base in the studio's frame."""
    if framed(tokenizer):
        return ""
    turns = (Message("user", "a"), Message("assistant", _MARK), Message("user", _MARK))
    for count in (3, 2):  # a template that takes one question alone still ends its answer
        with contextlib.suppress(InputError):
            parts = render_chat(tokenizer, turns[:count], add_generation_prompt=False).split(_MARK)
            return parts[1] if len(parts) > 1 else ""
    return ""


def next_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """The text at which an answer ends because a new turn begins: the heading of a question, on a line of its own, in the studio's frame
    or in a chat template that writes its headings as plain text; empty where a token says so."""
    if framed(tokenizer):
        return NEXT_TURN
    special = {*tokenizer.all_special_tokens, *(str(token) for token in tokenizer.added_tokens_decoder.values())}
    headings = [line.strip() for line in _between_turns(tokenizer).split("\n")[1:] if line.strip()]
    plain = [line for line in headings if not any(token in line for token in special)]
    return f"\n{plain[0]}" if plain else ""


def answer_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], mark: str) -> str:
    """The answer that these tokens make, whoever shows, judges or scores it: without special tokens, up to the next turn (see
    :func:`cut_answer`)."""
    text = str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return cut_answer(text, mark)


def cut_answer(text: str, mark: str) -> str:
    """An answer up to the next turn (see :func:`next_turn`), without white space around it."""
    return _up_to(text, mark).strip()


def before_turn(tokenizer: PreTrainedTokenizerBase, ids: list[int], mark: str) -> list[int]:
    """The tokens of an answer before a new turn begins; all of them where none does."""
    text = str(tokenizer.decode(ids))
    answer = _up_to(text, mark)
    if answer == text:
        return ids
    answer = answer.rstrip()
    kept = next(n for n in range(len(ids) + 1) if len(str(tokenizer.decode(ids[:n]))) >= len(answer))
    return ids[:kept]


def _up_to(text: str, mark: str) -> str:
    """``text`` before ``mark``. A beginning of it at the end is cut as well: more of it was to come, or the longest answer ended within
    it."""
    if not mark:
        return text
    text = text.split(mark)[0]
    # a line break alone begins many things
    begun = next((n for n in range(len(mark) - 1, 1, -1) if text.endswith(mark[:n])), 0)
    return text[: len(text) - begun]


class StopAtTurn:
    """A stopping criterion for ``generate``: rows of ids whose answers have begun a new turn are done.

    ``start`` is the length of the prompts in tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, mark: str, start: int) -> None:
        self._tokenizer, self._mark, self._start = tokenizer, mark, start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Which rows are done, ``[rows]``."""
        import torch

        # the mark is a few tokens long, and it was looked for at every token before
        tail = input_ids[:, max(self._start, input_ids.shape[1] - 2 * len(self._mark)) :]
        ended = [self._mark in text for text in self._tokenizer.batch_decode(tail)]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)


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
