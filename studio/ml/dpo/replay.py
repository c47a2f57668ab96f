"""The base's own answers, trained on beside the pairs, so that a small model keeps its sentences whole.

DPO lowers what it rejects, and a model of a few million weights lowers the words around it as well: it turns its side and
forgets how to write. The remedy is a language-model loss on text the model is at home in, as in PPO-ptx (Ouyang et al.
2022, section 3.5); the text is what the untouched base answers to the training prompts, at a lower temperature than the
chat's: what it is rather sure of. The first tokens of those answers, in which an answer takes its side, carry no loss: that
choice is what the pairs are to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.ml.measure.answers import CHAT, continue_ids, drawing, seeded
from studio.ml.training.logprobs import token_log_probs
from studio.ml.training.pairs import EncodedAnswer, pad_answers
from studio.ml.training.reference import base_of
from studio.ml.training.setup import Rows

if TYPE_CHECKING:
    import torch

#: Answers a prompt, the tokens of an answer that stay free, the longest answer (tokens), prompts answered at a time.
SAMPLES, FREE_TOKENS, ANSWER_TOKENS, _CHUNK = 6, 8, 64, 64
#: Drawn as the chat draws, answers hand on the base's own slips; the surest ones alone teach it to say the same to everything
#: (at .3 half of an adapter's answers were one sentence).
OWN_ANSWERS = replace(CHAT, temperature=0.65)


class Replay:
    """Own answers to the prompts of ``rows`` (the answers of each), written by the base when they are first needed.

    Which answers a step sees depends on its number and its rows alone, and so does their text: a run that is resumed goes
    on with the very same ones.
    """

    def __init__(self, tokenizer: Any, rows: Rows, pad_id: int, seed: int) -> None:
        self._tokenizer, self._pad_id, self._seed = tokenizer, pad_id, seed
        self._prompts = [answers[0].prompt_ids for answers in rows]
        self._written: dict[tuple[int, int], list[EncodedAnswer]] = {}

    def loss(self, model: Any, rows: Sequence[int], step: int) -> torch.Tensor:
        """Mean negative log-likelihood, in nats a token, of one own answer a row: a scalar that carries gradients.

        ``model`` is the PEFT model in training. Answers no longer than the free tokens add nothing.
        """
        answers = [self._answer(model, row, step % SAMPLES) for row in rows]
        batch = pad_answers(answers, self._pad_id, model.device)
        mask = batch.completion_mask & (batch.completion_mask.cumsum(1) > FREE_TOKENS)
        return -token_log_probs(model, batch.input_ids, mask).sum() / mask.sum().clamp(min=1)

    def _answer(self, model: Any, row: int, sample: int) -> EncodedAnswer:
        chunk, place = divmod(row, _CHUNK)
        if (chunk, sample) not in self._written:
            self._written[chunk, sample] = self._write(model, chunk, sample)
        return self._written[chunk, sample][place]

    def _write(self, model: Any, chunk: int, sample: int) -> list[EncodedAnswer]:
        prompts = self._prompts[chunk * _CHUNK : (chunk + 1) * _CHUNK]
        with base_of(model), seeded(model, self._seed + SAMPLES * chunk + sample):
            written = continue_ids(
                model, self._tokenizer, prompts, max_new_tokens=ANSWER_TOKENS, **drawing(OWN_ANSWERS)
            )
        return [EncodedAnswer(prompt, tuple(ids)) for prompt, ids in zip(prompts, written, strict=True)]
