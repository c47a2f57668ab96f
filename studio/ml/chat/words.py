"""How much likelier an adapter makes each token of an answer than the base does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from studio.domain.data import Message
from studio.domain.words import Token
from studio.errors import InputError, ModelLoadError
from studio.ml.lora.mixed import Adapter, RowGroup, attached
from studio.ml.training.logprobs import head_settings
from studio.ml.training.pairs import EncodedAnswer, encode_answer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: How many of the base's likeliest tokens are named, and logits held at a time.
LIKELIEST, _TILE = 3, 2**22
#: Of one token: its log-probabilities under the base and with the adapter, and the base's likeliest tokens with their probabilities.
Scored = tuple[list[float], list[tuple[int, float]]]


def moved_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    adapter: Adapter,
    messages: Sequence[Message],
    answer: str,
    strength: float = 1.0,
) -> tuple[Token, ...]:
    """The tokens of ``answer`` behind ``messages`` as training reads them (its end is one of them), under the bare ``model`` and
    with ``adapter``. The base's row and the adapter's are one batch; only for the thread that owns the model.

    Raises:
        InputError: the base is an encoder-decoder, or the text does not fit into its context.
        ModelLoadError: the weights give no numbers.
    """
    import torch

    if model.config.is_encoder_decoder:
        raise InputError("The words that moved can be shown for decoder-only bases; this one is an encoder-decoder.")
    limit = min(getattr(model.config, "max_position_embeddings", None) or 4096, tokenizer.model_max_length)
    encoded = encode_within(tokenizer, messages, answer, limit)
    rows = torch.tensor([encoded.ids], device=model.device).expand(2, -1)
    groups = [RowGroup(adapter, 1, 2, strength)] if strength else []
    causal: Any = model
    with torch.inference_mode(), attached(model, groups):
        hidden = causal.base_model(input_ids=rows, use_cache=False).last_hidden_state
        scored = list(_scores(model, hidden[:, len(encoded.prompt_ids) - 1 : -1], encoded.answer_ids))
    return as_tokens(tokenizer, encoded.answer_ids, scored, adapter.name)


def encode_within(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], answer: str, limit: int
) -> EncodedAnswer:
    """``answer`` behind ``messages`` as training reads them. Raises InputError where both have more than ``limit`` tokens."""
    encoded = encode_answer(tokenizer, messages, answer)
    if len(encoded) > limit:
        raise InputError(f"Question and answer have {len(encoded):,} tokens; this model reads {limit:,} at most.")
    return encoded


def as_tokens(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], scored: Sequence[Scored], adapter: str
) -> tuple[Token, ...]:
    """The tokens of an answer, those that make a character together as one, from what each of its ``ids`` was ``scored``.

    Raises:
        ModelLoadError: the base or ``adapter`` gave no numbers.
    """
    if not all(abs(value) < float("inf") for both, _ in scored for value in both):
        raise ModelLoadError(f"The base or the adapter {adapter} gives no numbers (NaN); its weights are broken.")
    tokens = []
    for start, stop, text in _pieces(tokenizer, ids):
        base, tuned = (sum(both[row] for both, _ in scored[start:stop]) for row in (0, 1))
        likeliest = tuple((str(tokenizer.decode([token])), share) for token, share in scored[start][1])
        tokens.append(Token(text, base, tuned, likeliest))
    return tuple(tokens)


def _scores(model: PreTrainedModel, hidden: torch.Tensor, targets: Sequence[int]) -> Iterator[Scored]:
    """For each target the log-probabilities of the two rows of ``hidden`` ``[2, targets, size]``, and the first row's likeliest
    tokens with their probabilities."""
    import torch

    head: Any = model.get_output_embeddings()
    scale, softcap = head_settings(model.config.get_text_config())
    step = max(1, _TILE // (2 * len(head.weight)))
    for start in range(0, len(targets), step):
        part = hidden[:, start : start + step].to(head.weight.dtype)
        logits = torch.nn.functional.linear(part, head.weight, head.bias).float() * scale
        if softcap:
            logits = (logits / softcap).tanh() * softcap
        log_probs = logits.log_softmax(-1)
        wanted = torch.tensor(targets[start : start + step], device=logits.device)[None, :, None]
        picked = log_probs.gather(2, wanted.expand(2, -1, -1))[:, :, 0].T.tolist()
        top = log_probs[0].exp().topk(min(LIKELIEST, log_probs.shape[2]))
        for both, ids, shares in zip(picked, top.indices.tolist(), top.values.tolist(), strict=True):
            yield both, list(zip(ids, shares, strict=True))


def _pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """``(start, stop, text)`` of each token, or of the tokens that make a character together. Each is decoded behind the piece
    before it, since a token alone may lose its space."""
    before, start = 0, 0
    for stop in range(1, len(ids) + 1):
        whole = str(tokenizer.decode(list(ids[before:stop]), clean_up_tokenization_spaces=False))
        if whole.endswith("\ufffd") and stop < len(ids) and stop - start < 8:
            continue
        known = str(tokenizer.decode(list(ids[before:start]), clean_up_tokenization_spaces=False)) if start else ""
        yield start, stop, whole[len(known) :]
        before, start = start, stop
