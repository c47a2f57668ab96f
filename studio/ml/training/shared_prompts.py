"""Answers to one prompt as one row of a batch, so that the prompt goes through the model once (Wang and Hegde 2024, "Accelerating
Direct Preference Optimization with Prefix Sharing", arXiv:2410.20305): the two answers of a pair, the answers of a step of
reinforcement learning. A mask keeps each answer from seeing the others, and each counts its positions from the prompt's end.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.ml.models.batching import batches_by_length
from studio.ml.training.pairs import EncodedAnswer

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

#: Mean difference of log-probabilities of tokens (nats), or rewards, beyond which the two ways are not the same arithmetic; bfloat16 makes .005.
TOLERANCE = 0.05
#: Kinds of layers that see what the mask lets them see and nothing else.
_KINDS = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class Layout:
    """How a right-padded batch of answers goes through the decoder.

    Attributes:
        ids: token ids ``[rows, length]`` as the decoder is given them.
        options: what else it is given: mask and positions where prompts are shared.
        before: of each answer token the place, in the flattened output, of the state that predicts it, answer by answer.
        last: of each answer the place of its last token there.
        places: of each of ``ids`` the place in the flattened batch; None where the two are the same.
        back: of each place of the batch that one in the flattened ``ids`` (of padding: the first); None as well.
    """

    ids: torch.Tensor
    options: dict[str, torch.Tensor]
    before: torch.Tensor
    last: torch.Tensor
    places: torch.Tensor | None = None
    back: torch.Tensor | None = None

    def laid_out(self, states: torch.Tensor) -> torch.Tensor:
        """States ``[rows, length, size]`` of the batch as those of ``ids``."""
        return states if self.places is None else states.flatten(0, 1)[self.places]

    def taken_apart(self, states: torch.Tensor) -> torch.Tensor:
        """States of ``ids`` as those of the batch: what :meth:`laid_out` is given."""
        return states if self.back is None else states.flatten(0, 1)[self.back]


#: Within its block the decoder begins where the layers below the trained ones end, with what the block is given.
Below = Callable[[Layout], contextlib.AbstractContextManager["dict[str, torch.Tensor]"]]


def causal_of(model: Any) -> Any:
    """The model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def decoded(causal: Any, rows: Layout, below: Below | None = None) -> torch.Tensor:
    """The decoder's last hidden states of all places of ``rows`` ``[rows * length, size]``."""
    with below(rows) if below else contextlib.nullcontext({"input_ids": rows.ids}) as given:
        states: torch.Tensor = causal.base_model(**given, **rows.options, use_cache=False).last_hidden_state
    return states.flatten(0, 1)


def apart(ids: torch.Tensor, mask: torch.Tensor) -> Layout:
    """Each answer as a row of its own. ``mask`` ``[rows, length]`` is true on answer tokens."""
    import torch

    before = mask.roll(-1, 1)
    before[:, -1] = False
    length = ids.shape[1]
    ends = length - mask.flip(1).int().argmax(1)
    last = torch.arange(len(ids), device=ids.device) * length + ends - 1
    return Layout(ids, {}, before.flatten().nonzero()[:, 0], last)


def shared(ids: torch.Tensor, mask: torch.Tensor, dtype: torch.dtype) -> Layout:
    """The answers to each prompt behind one copy of it. ``ids`` and ``mask`` as for :func:`apart`; ``dtype`` is the model's, for the
    mask that is added to attention scores."""
    import torch

    length = ids.shape[1]
    begins = mask.int().argmax(1).tolist()
    ends = (length - mask.flip(1).int().argmax(1)).tolist()
    together: dict[tuple[int, ...], list[int]] = {}
    for row, (begin, tokens) in enumerate(zip(begins, ids.tolist(), strict=True)):
        together.setdefault(tuple(tokens[:begin]), []).append(row)
    if len(together) == len(ids) or not min(begins):  # nothing to share, or an answer without a prompt
        return apart(ids, mask)
    wide = max(len(prompt) + sum(ends[row] - begins[row] for row in rows) for prompt, rows in together.items())
    places = torch.zeros(len(together), wide, dtype=torch.long)
    positions, answer = torch.zeros_like(places), torch.full_like(places, -1)
    back = torch.zeros(ids.shape, dtype=torch.long)
    before: dict[int, list[int]] = {}
    last = [0] * len(ids)
    for group, (prompt, rows) in enumerate(together.items()):
        at = len(prompt)
        places[group, :at] = torch.arange(at) + rows[0] * length
        positions[group, :at], answer[group, :at] = torch.arange(at), 0
        for number, row in enumerate(rows, 1):
            behind = torch.arange(begins[row], ends[row])
            end = at + len(behind)
            places[group, at:end] = behind + row * length
            positions[group, at:end], answer[group, at:end] = behind, number
            first = group * wide
            back[row, : len(prompt)] = torch.arange(len(prompt)) + first
            back[row, begins[row] : ends[row]] = torch.arange(at, end) + first
            before[row] = [first + len(prompt) - 1, *range(first + at, first + end - 1)]
            last[row] = first + end - 1
            at = end
    seen = (answer[:, None, :] == 0) | (answer[:, None, :] == answer[:, :, None])
    seen &= torch.ones(wide, wide, dtype=torch.bool).tril()
    bias = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
    device = ids.device
    places = places.to(device)
    options = {"attention_mask": bias[:, None].to(device), "position_ids": positions.to(device)}
    order = [place for row in range(len(ids)) for place in before[row]]
    ends_at = torch.tensor(last, device=device)
    return Layout(ids.flatten()[places], options, torch.tensor(order, device=device), ends_at, places, back.to(device))


def share_prompts(model: Any, values: Callable[[], torch.Tensor]) -> None:
    """Let ``model`` read equal prompts of a batch once, where it can and gives the same numbers that way.

    Args:
        values: log-probabilities (nats) or rewards of some answers, two at least to one prompt.
    """
    import torch

    causal = causal_of(model)
    config = causal.config.get_text_config()
    if not _KINDS.issuperset(getattr(config, "layer_types", None) or ()):
        return
    with torch.no_grad():
        alone = values()
        causal.shares_prompts = True
        try:
            difference = float((values() - alone).abs().mean())
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            _log.info("Prompts are read with each of their answers: %s", error)
            difference = float("nan")
    causal.shares_prompts = difference <= TOLERANCE


def shares(causal: Any) -> bool:
    """Whether :func:`share_prompts` let a model read equal prompts once."""
    return bool(getattr(causal, "shares_prompts", False))


def layout(causal: Any, ids: torch.Tensor, mask: torch.Tensor) -> Layout:
    """:func:`shared` where :func:`share_prompts` let the model, and no layer's window is shorter than the rows; else :func:`apart`."""
    if not shares(causal):
        return apart(ids, mask)
    shared_layout = shared(ids, mask, causal.dtype)
    window = getattr(causal.config.get_text_config(), "sliding_window", None)
    return apart(ids, mask) if window and shared_layout.ids.shape[1] > window else shared_layout


def batches(model: Any, answers: Sequence[EncodedAnswer], room: int) -> Iterator[list[int]]:
    """Indices of ``answers`` in batches of similar length and ``room`` tokens at most (:func:`batches_by_length`); answers to one prompt
    stay together where the model reads it once."""
    together: dict[Any, list[int]] = {}
    sharing = shares(causal_of(model))
    for index, answer in enumerate(answers):
        together.setdefault(answer.prompt_ids if sharing else index, []).append(index)
    units = list(together.values())
    sizes = [len(answers[unit[0]]) + sum(len(answers[index].answer_ids) for index in unit[1:]) for unit in units]
    for chosen in batches_by_length(sizes, room):
        yield [index for unit in chosen for index in units[unit]]
