"""Log-probabilities of answers under an encoder-decoder: the encoder reads the prompt, the decoder is scored on the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.ml.training.pairs import EncodedAnswer

if TYPE_CHECKING:
    import torch


def padded(rows: Sequence[Sequence[int]], pad_id: int, device: Any = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids of unequal length as ``[rows, length]``, filled up on the right, and the mask that is true on real tokens."""
    import torch

    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad_id] * (length - len(row))] for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows])
    return ids.to(device), mask.to(device)


def decoder_log_probs(
    model: Any,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    answer_ids: torch.Tensor,
    answer_mask: torch.Tensor,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Summed log-probability of each answer in nats, ``[answers]``, with gradients where the caller wants them.

    The answers come in equal groups, one a prompt and in the prompts' order, so that the encoder reads each prompt once.
    ``model`` is an encoder-decoder or a PEFT model around one; ``answer_ids`` hold no start token, ``answer_mask`` is true
    on what counts, the end token included; ``temperature`` divides the logits, for answers that were sampled with one.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    group = len(answer_ids) // len(prompt_ids)
    read = base.get_encoder()(input_ids=prompt_ids, attention_mask=prompt_mask.long()).last_hidden_state
    start = torch.full_like(answer_ids[:, :1], base.generation_config.decoder_start_token_id)
    out = base(
        encoder_outputs=BaseModelOutput(last_hidden_state=read.repeat_interleave(group, 0)),
        attention_mask=prompt_mask.long().repeat_interleave(group, 0),
        decoder_input_ids=torch.cat((start, answer_ids[:, :-1]), 1),
        use_cache=False,
    )
    logits = out.logits.float() / temperature
    scores = logits.gather(2, answer_ids.unsqueeze(2)).squeeze(2) - logits.logsumexp(2)
    return scores.masked_fill(~answer_mask, 0.0).sum(1)


def seq2seq_log_probs(model: Any, answers: Sequence[EncodedAnswer], pad_id: int, batch_tokens: int) -> list[float]:
    """Summed log-probability of each answer in nats, without gradients, in batches of at most ``batch_tokens`` tokens (or one
    answer)."""
    import torch

    size = max(1, batch_tokens // max(map(len, answers), default=1))
    sums: list[float] = []
    for begin in range(0, len(answers), size):
        part = answers[begin : begin + size]
        prompts = padded([answer.prompt_ids for answer in part], pad_id, model.device)
        targets = padded([answer.answer_ids for answer in part], pad_id, model.device)
        with torch.no_grad():
            sums += decoder_log_probs(model, *prompts, *targets).tolist()
    return sums
