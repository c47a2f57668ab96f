"""Conversations as a reward model reads them, and batches of them.

The rule for what is too long, in training and in scoring: an answer is always read whole. Where prompt and answer together
exceed the limit, the oldest tokens of the prompt go (never the special tokens the text begins with), the same for both answers of a
pair. Where the answer alone exceeds it, there is nothing honest to score: the row is dropped and counted (or, where a run asks for
that, the answer is cut at its end), a text to be scored is refused.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.domain.data import Message, PreferenceRow
from studio.errors import InputError, RecipeError
from studio.ml.models.frames import HEADED
from studio.ml.models.loading import render_chat
from studio.ml.reward.base import rewards_of
from studio.ml.training.pairs import EncodedAnswer, conversation, pad_answers, token_mask
from studio.ml.training.shared_prompts import batches, causal_of, decoded, layout, shares
from studio.ml.training.trunk import Trunk

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

Encoded = tuple[EncodedAnswer, EncodedAnswer]
#: Tokens through the model at once where nothing is kept for a backward pass.
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 4096, 32768
#: Tokens of a training step that go through the model at once on a CPU. Smaller parts have less padding, larger ones fewer calls.
CPU_STEP_TOKENS = 1024


@dataclass(frozen=True)
class EncodedRows:
    """What of preference rows can be used: ``pairs`` are (chosen, rejected) of ``rows``; ``dropped`` rows could not be, and
    the prompts of ``cut`` answers were shortened. ``shortened`` answers were cut at their end."""

    pairs: list[Encoded]
    rows: list[PreferenceRow]
    dropped: int
    cut: int
    shortened: int = 0


def encode_rows(
    tokenizer: Any,
    rows: Sequence[PreferenceRow],
    system_prompt: str,
    limit: int,
    what: str,
    cut_answers: bool = False,
    quiet: bool = False,
) -> EncodedRows:
    """Both answers of every row, by the module's rule; ``what`` names the rows in the log (unless ``quiet``) and in errors.

    A row whose two answers are the same to the model (equal but for white space, say) is dropped as well.

    Raises:
        RecipeError: the tokenizer's chat template refuses a row's conversation; names the row.
    """
    pairs, used = [], []
    long = same = cut = shortened = 0
    for number, row in enumerate(rows, 1):
        before = conversation(row.prompt, system_prompt, row.history)
        try:
            sides = [encode_answer(tokenizer, before, answer, limit) for answer in (row.chosen, row.rejected)]
            if cut_answers:
                shortened += sides.count(None)
                answers = zip(sides, (row.chosen, row.rejected), strict=True)
                sides = [
                    side or encode_answer(tokenizer, before, answer, limit, cut_answers=True)
                    for side, answer in answers
                ]
        except InputError as error:
            raise RecipeError(f"{what} {number} ({row.pair_id}): {error}") from error
        chosen, rejected = sides
        if chosen and rejected and chosen[1] != rejected[1]:  # both are read behind the same prompt
            most = max(chosen[1], rejected[1])
            chosen, rejected = (
                encode_answer(tokenizer, before, answer, len(side[0]) + side[1] - most) or side
                for side, answer in ((chosen, row.chosen), (rejected, row.rejected))
            )
        if chosen is None or rejected is None:
            long += 1
        elif chosen[0].ids == rejected[0].ids:
            same += 1
        else:
            pairs.append((chosen[0], rejected[0]))
            used.append(row)
            cut += sum(lost > 0 for _, lost in (chosen, rejected))
    if (long or same) and not quiet:
        _log.warning(
            "%ss dropped: %d with an answer longer than %d tokens, %d with two equal answers.", what, long, limit, same
        )
    if cut and not quiet:
        _log.warning("%ss: the prompts of %d answers were shortened to fit into %d tokens.", what, cut, limit)
    return EncodedRows(pairs, used, long + same, cut, shortened)


def encode_answer(
    tokenizer: Any, before: Sequence[Message], answer: str, limit: int, cut_answers: bool = False
) -> tuple[EncodedAnswer, int] | None:
    """An answer behind its conversation, and how many of the conversation's tokens were left out; None where the answer
    alone does not fit into ``limit`` tokens and is not to be cut.

    Raises:
        InputError: the tokenizer's chat template refuses the conversation.
    """
    prompt = _ids(tokenizer, render_chat(tokenizer, list(before), frame=HEADED))
    whole = [*before, Message("assistant", answer)]
    full = _ids(tokenizer, render_chat(tokenizer, whole, add_generation_prompt=False, frame=HEADED))
    first, last = _frame(tokenizer)
    if getattr(tokenizer, "chat_template", None):  # it writes all special tokens itself
        first, last = first if full[: len(first)] == first else [], []
    if prompt[: len(first)] != first:
        prompt, full = [*first, *prompt], [*first, *full]
    if full[len(full) - len(last) :] != last:
        full = [*full, *last]
    start = max(
        len(first), next((i for i, (a, b) in enumerate(zip(prompt, full, strict=False)) if a != b), len(prompt))
    )
    lost = max(0, len(full) - limit)
    if lost > start - len(first):
        if not cut_answers:
            return None
        answered = full[start:]
        room = limit - len(first) - 1  # the last token ends the text, and there the reward is read
        return EncodedAnswer(tuple(first), (*answered[:room], answered[-1])), lost
    return EncodedAnswer((*full[: len(first)], *full[len(first) + lost : start]), tuple(full[start:])), lost


def score_rows(model: Any, answers: Sequence[EncodedAnswer], pad_id: int, trunk: Trunk | None = None) -> list[float]:
    """The reward of each answer, without gradients; the model's mode is left alone. ``trunk`` as in :func:`rewards_by_length`."""
    import torch

    room = _CPU_BATCH_TOKENS if model.device.type == "cpu" else _GPU_BATCH_TOKENS
    # not inference_mode: what a layer keeps for later must fit training as well
    with torch.no_grad():
        rewards: list[float] = rewards_by_length(model, answers, pad_id, trunk, room).tolist()
    return rewards


def rewards_by_length(
    model: Any, answers: Sequence[EncodedAnswer], pad_id: int, trunk: Trunk | None = None, room: int = 0
) -> torch.Tensor:
    """The reward of each answer ``[answers]`` in their order, computed in parts of similar length, so that little is spent on
    padding; from the kept states of ``trunk`` where there is one.

    Args:
        room: tokens of a part at most, padding included; 0: :data:`CPU_STEP_TOKENS` on a CPU, no bound elsewhere.
    """
    import torch

    if not answers:
        return torch.zeros(0)
    if room == 0:
        room = CPU_STEP_TOKENS if model.device.type == "cpu" else sys.maxsize
    parts, places = [], []
    for numbers in batches(model, answers, room):
        parts.append(_rewards(model, [answers[number] for number in numbers], pad_id, trunk))
        places += numbers
    back = torch.tensor(places, device=parts[0].device).argsort()
    return torch.cat(parts)[back]


def _rewards(model: Any, answers: Sequence[EncodedAnswer], pad_id: int, trunk: Trunk | None) -> torch.Tensor:
    """The reward of each of ``answers``, in one batch."""
    base = causal_of(model)
    if not shares(base):
        with trunk.reading(answers) if trunk else contextlib.nullcontext():
            return rewards_of(model, pad_batch(answers, pad_id, model.device))
    batch = pad_answers(answers, pad_id, model.device)
    rows = layout(base, batch.input_ids, batch.completion_mask)
    return base.score(decoded(base, rows, trunk.kept(answers) if trunk else None)[rows.last])[:, 0].float()


def pad_batch(answers: Sequence[EncodedAnswer], pad_id: int, device: Any = "cpu") -> dict[str, Any]:
    """Answers as the model's inputs, padded on the right."""
    ids = pad_answers(answers, pad_id).input_ids
    return {"input_ids": ids.to(device), "attention_mask": token_mask(answers, ids.shape[1]).to(device)}


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens a tokenizer without a chat template puts before and behind a text; an end token at the least."""
    bare, framed = _ids(tokenizer, "a"), tokenizer("a")["input_ids"]
    at = next((i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), 0)
    end = tokenizer.eos_token_id
    return framed[:at], framed[at + len(bare) :] or ([end] if end is not None else [])


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
