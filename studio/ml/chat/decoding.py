"""What ``generate`` is given for a batch of rows: a sampler that draws by row, a stop signal, a streamer for all rows.

Sampling adds Gumbel noise to the filtered log-probabilities and takes the largest, which draws from exactly that
distribution. Each row's noise depends on its own seed and on the step alone: an answer does not change with the rows
beside it, and rows of equal seed differ only where their models differ. What can still differ is rounding: a product
over two rows may round otherwise than over one, and in bfloat16 a near-tie then falls the other way.

``generate`` takes these objects by what they do, so they need no base class from transformers (whose import is slow).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from studio.domain.chat import Sampling
from studio.ml.models.prompts import answer_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

#: Seconds between two looks at the text: decoding every token of every row would cost more than it shows.
PUBLISH_EVERY_S = 0.04
#: How many of the likeliest tokens are looked at, and then how many, before sorting a whole vocabulary for top-p.
_TOP = (128, 2048)


class RowSampler:
    """A logits processor after which the largest entry of each row is that row's draw.

    Args:
        sampling: temperature 0 leaves the logits alone (greedy).
        seeds: one seed a row; rows of equal seed get equal noise.
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int]) -> None:
        import torch

        self._temperature = sampling.temperature
        self._top_p = sampling.top_p
        distinct = sorted(set(seeds))
        self._generators = [torch.Generator().manual_seed(seed) for seed in distinct]
        self._which = torch.tensor([distinct.index(seed) for seed in seeds])
        self.broken = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits ``[rows, vocabulary]`` in float32 to noisy, filtered ones of the same shape."""
        import torch

        if bool(scores.amax(dim=1).isnan().any()):
            self.broken = True
        if self._temperature <= 0:
            return scores
        logits = scores / self._temperature
        if self._top_p < 1:
            logits = keep_top_p(logits, self._top_p)
        drawn = [torch.empty(scores.shape[1]).exponential_(generator=g) for g in self._generators]
        noise = torch.stack(drawn)[self._which].to(logits.device)
        return logits - noise.log()


def less_repetition(penalty: float, prompt: int) -> list[Any]:
    """Logits processors that make what an answer has said less likely (Keskar et al. 2019, arXiv:1909.05858, section 4.1). The first
    ``prompt`` tokens do not count: an answer to a question needs the question's words."""
    from transformers import RepetitionPenaltyLogitsProcessor

    return [RepetitionPenaltyLogitsProcessor(penalty, prompt_ignore_length=prompt)] if penalty != 1 else []


def keep_top_p(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest set of tokens whose probability reaches ``top_p``; all others become minus infinity."""
    probabilities = logits.softmax(dim=1)
    kept, _ = nucleus(probabilities, top_p)
    smallest = kept.masked_fill(kept == 0, 1).amin(dim=1, keepdim=True)
    return logits.masked_fill(probabilities < smallest, float("-inf"))


def nucleus(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest tokens that together reach ``top_p``: their probabilities (0 beyond the set) and ids, both ``[rows, n]``,
    likeliest first, from ``probabilities`` ``[rows, vocabulary]``."""
    for count in _TOP:
        if count >= probabilities.shape[1]:
            continue
        top, ids = probabilities.topk(count, dim=1)
        if bool((top.sum(dim=1) >= top_p).all()):
            break
    else:
        top, ids = probabilities.sort(dim=1, descending=True)
    # the token that crosses the border stays in
    return top.masked_fill(top.cumsum(dim=1) - top >= top_p, 0), ids


class StopRows:
    """A stopping criterion: every row once somebody asked to stop or the numbers broke, single rows when they ended."""

    def __init__(self, sampler: RowSampler, ended: Sequence[bool], signals: Sequence[threading.Event]) -> None:
        self._sampler = sampler
        self._ended = ended
        self._signals = signals

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Which rows are done, ``[rows]``."""
        import torch

        if self._sampler.broken or any(signal.is_set() for signal in self._signals):
            return torch.ones(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        return torch.tensor(self._ended, dtype=torch.bool, device=input_ids.device)


class RowStreamer:
    """Collects each row's tokens as ``generate`` puts them and has the rows published together now and then.

    Args:
        ended: list shared with :class:`StopRows`; a row is marked when it is over.
        publish: called at most every :data:`PUBLISH_EVERY_S` seconds, and at the first token; never raises.
        cut_at: text at which an answer ends (tokenizers without chat template have no token for it).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        ended: list[bool],
        eos: set[int],
        publish: Callable[[], None],
        cut_at: str = "",
    ) -> None:
        self._tokenizer = tokenizer
        self._ended = ended
        self._eos = eos
        self._publish = publish
        self._cut_at = cut_at
        self._prompt_seen = False
        self._last = 0.0
        self.tokens: list[list[int]] = [[] for _ in ended]
        self.seconds = [0.0] * len(ended)
        self.started = time.monotonic()

    def put(self, value: torch.Tensor) -> None:
        """The prompts ``[rows, tokens]`` first, then one token a row ``[rows]``, on the CPU."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        now = time.monotonic()
        for row, token in enumerate(value.tolist()):
            if self._ended[row]:
                continue
            self.seconds[row] = now - self.started
            if token in self._eos:
                self._ended[row] = True
            else:
                self.tokens[row].append(token)
        if now - self._last >= PUBLISH_EVERY_S:
            self._last = now
            if self._cut_at:
                self._cut()
            self._publish()

    def end(self) -> None:
        """Nothing more comes; whoever called ``generate`` publishes the end."""

    def text(self, row: int) -> str:
        """The answer of a row so far, without the bytes of a character that is not complete yet."""
        return answer_text(self._tokenizer, self.tokens[row], self._cut_at).rstrip("\ufffd").rstrip()

    def _cut(self) -> None:
        for row, ids in enumerate(self.tokens):
            if not self._ended[row] and self._cut_at in self._tokenizer.decode(ids):
                self._ended[row] = True
