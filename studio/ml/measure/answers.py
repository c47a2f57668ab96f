"""Answers written by the model in training: greedy for the film-strip, sampled for the measured support share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from studio.domain.chat import Sampling
from studio.ml.chat.decoding import less_repetition, nucleus
from studio.ml.models.prompts import StopAtTurn, answer_text, before_turn, chat_ids, end_tokens, next_turn
from studio.ml.training.pairs import conversation

if TYPE_CHECKING:
    import torch

#: How measured answers are drawn: as the chat draws by default, so that what is counted is what a person reads there.
CHAT = Sampling()
#: The model's own distribution, for what is defined on it (KL).
WHOLE = Sampling(temperature=1.0, top_p=1.0)


def greedy_answers(
    model: Any, tokenizer: Any, prompts: Sequence[str], system_prompt: str, max_new_tokens: int = 64
) -> list[str]:
    """One greedy answer a prompt, all prompts in one batch; leaves the random state and the model's mode alone."""
    return _generate(model, tokenizer, prompts, system_prompt, max_new_tokens=max_new_tokens, do_sample=False)


def sample_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    system_prompt: str,
    *,
    seed: int,
    sampling: Sampling = CHAT,
    max_new_tokens: int = 64,
    batch_size: int = 64,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[str]:
    """One answer a prompt, drawn at the temperature and top-p of ``sampling``.

    The random state is put back afterwards. Returns what there is once ``cancelled`` is true (asked between batches).
    """
    answers: list[str] = []
    with seeded(model, seed):
        for start in range(0, len(prompts), batch_size):
            if cancelled():
                break
            part = prompts[start : start + batch_size]
            options = {**drawing(sampling), "max_new_tokens": max_new_tokens}
            answers += _generate(model, tokenizer, part, system_prompt, **options)
    return answers


@contextlib.contextmanager
def seeded(model: Any, seed: int) -> Iterator[None]:
    """Within the block what ``model`` draws follows from ``seed``; the random state is put back afterwards."""
    import torch

    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def drawing(sampling: Sampling) -> dict[str, Any]:
    """Options of ``generate`` that draw as ``sampling`` says, whatever the base's own settings say."""
    return {
        "do_sample": False,  # the processor draws; generate takes the one token it leaves
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "repetition_penalty": sampling.repetition_penalty,
        "logits_processor": [TopPDraw(sampling.temperature, sampling.top_p)],
    }


class TopPDraw:
    """A logits processor that draws one token a row, at a temperature from the likeliest tokens (top-p), with torch's global random
    state: one random number a row, looked up in the cumulated probabilities. ``generate`` itself would sort the whole vocabulary
    and draw a number for each entry, which takes longer than the model on a CPU."""

    def __init__(self, temperature: float, top_p: float) -> None:
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores ``[rows, vocabulary]`` to 0 at each row's token and minus infinity elsewhere.

        Raises:
            RuntimeError: the scores are not numbers.
        """
        import torch

        probabilities = (scores.float() / self._temperature).softmax(1)
        ids = None
        if self._top_p < 1:
            probabilities, ids = nucleus(probabilities, self._top_p)
        edges = probabilities.double().cumsum(1)
        total = edges[:, -1:]
        if not bool(total.isfinite().all()):
            raise RuntimeError("The model's scores are not numbers (NaN).")
        point = torch.rand(total.shape, dtype=total.dtype, device=total.device) * total
        # the first token whose edge lies beyond the point; one without probability has no room of its own
        place = torch.searchsorted(edges, point, right=True)
        drawn = place if ids is None else ids.gather(1, place)
        return torch.full_like(scores, float("-inf")).scatter_(1, drawn, 0.0)


def _generate(model: Any, tokenizer: Any, prompts: Sequence[str], system_prompt: str, **options: Any) -> list[str]:
    seq2seq = bool(model.config.is_encoder_decoder)
    rows = [chat_ids(tokenizer, conversation(prompt, system_prompt), seq2seq) for prompt in prompts]
    mark = "" if seq2seq else next_turn(tokenizer)
    return [answer_text(tokenizer, ids, mark) for ids in continue_ids(model, tokenizer, rows, **options)]


def continue_ids(model: Any, tokenizer: Any, rows: Sequence[Sequence[int]], **options: Any) -> list[list[int]]:
    """What the model writes behind each row of token ids, to its first end token (included) or to where it begins a new turn;
    ``options`` go to ``generate``, but for a ``repetition_penalty``, which is of the answers alone. All rows in one batch; leaves the
    model's mode alone."""
    import torch

    if not rows:
        return []
    seq2seq = bool(model.config.is_encoder_decoder)
    end = tokenizer.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    length = max(map(len, rows))
    gaps = [length - len(row) for row in rows]
    if seq2seq:  # an encoder counts its positions from the left, and its answers start anew
        ids = torch.tensor([[*row, *[pad] * gap] for row, gap in zip(rows, gaps, strict=True)])
        mask = torch.tensor([[1] * (length - gap) + [0] * gap for gap in gaps])
    else:
        ids = torch.tensor([[*[pad] * gap, *row] for row, gap in zip(rows, gaps, strict=True)])
        mask = torch.tensor([[0] * gap + [1] * (length - gap) for gap in gaps])
    ends = sorted(end_tokens(model, tokenizer)) or None
    mark = "" if seq2seq else next_turn(tokenizer)
    if mark:
        options["stopping_criteria"] = [StopAtTurn(tokenizer, mark, length)]
    if repetition := less_repetition(options.get("repetition_penalty", 1.0), 1 if seq2seq else length):
        options["logits_processor"] = [*repetition, *options.get("logits_processor", ())]
        options["repetition_penalty"] = 1.0
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), _attention_of_answers(model):
            ids, mask = ids.to(model.device), mask.to(model.device)
            if not seq2seq and min(map(len, rows)) > 1:
                options["past_key_values"] = _read_once(model, ids, mask, pad)
            out = model.generate(input_ids=ids, attention_mask=mask, pad_token_id=pad, eos_token_id=ends, **options)
    finally:
        model.train(training)
    written: list[list[int]] = out[:, 1 if seq2seq else length :].tolist()
    stops = [next((place for place, token in enumerate(row, 1) if token in (ends or ())), len(row)) for row in written]
    answers = [row[:stop] for row, stop in zip(written, stops, strict=True)]
    return [before_turn(tokenizer, answer, mark) for answer in answers] if mark else answers


def _read_once(model: Any, ids: torch.Tensor, mask: torch.Tensor, pad: int) -> Any:
    """The cache of keys and values of all but the last token of ``ids`` ``[rows, length]``, for which each of some equal rows is read
    once: several answers to one prompt are drawn. None where no two rows are equal."""
    import torch

    read, places = torch.unique(torch.cat([mask, ids], 1), dim=0, return_inverse=True)
    if len(read) == len(ids):
        return None
    mask, ids = read.chunk(2, dim=1)
    options = {"max_new_tokens": 1, "do_sample": False, "return_dict_in_generate": True, "pad_token_id": pad}
    cache = model.generate(input_ids=ids[:, :-1], attention_mask=mask[:, :-1], **options).past_key_values
    cache.reorder_cache(places)
    return cache


@contextlib.contextmanager
def _attention_of_answers(model: Any) -> Iterator[None]:
    """Within the block the attention that the model had before :func:`studio.ml.training.setup.choose_attention` chose another for
    training: token by token it is the faster one."""
    of_training = model.config._attn_implementation
    of_answers = getattr(model, "attention_of_answers", of_training)
    if of_answers == of_training:
        yield
        return
    model.set_attn_implementation(of_answers)
    try:
        yield
    finally:
        model.set_attn_implementation(of_training)
