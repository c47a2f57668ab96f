"""The check that the base pane really is the base (see :class:`studio.domain.chat.BaseCheck`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.domain.chat import BaseCheck
from studio.domain.data import Message
from studio.ml.lora.mixed import Adapter, RowGroup, attached
from studio.ml.models.prompts import chat_ids

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

#: What a base is asked when it is checked.
PROBE = (Message("user", "Should anime be turned into live action?"),)


class BaseChecker:
    """Takes the base's logits as it is built, before any adapter, and compares later."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        import torch

        self._model = model
        self._seq2seq = bool(model.config.is_encoder_decoder)
        self._ids = torch.tensor([chat_ids(tokenizer, PROBE, self._seq2seq)])
        self._reference = self._logits(1)[0]
        self._done: dict[tuple[tuple[str, tuple[int, ...]], ...], BaseCheck] = {}

    def check(self, adapters: Sequence[Adapter]) -> BaseCheck:
        """Compare the base now with the base as loaded, and its row beside ``adapters`` with a batch without any. Done
        once for each set of adapters. Only for the thread that owns the model."""
        key = tuple((adapter.name, adapter.stamp) for adapter in adapters)
        if key not in self._done:
            self._done[key] = self._compare(adapters)
        return self._done[key]

    def _compare(self, adapters: Sequence[Adapter]) -> BaseCheck:
        rows = 1 + len(adapters)
        alone, plain = self._logits(1)[0], self._logits(rows)[0]
        with attached(self._model, [RowGroup(adapter, i + 1, i + 2) for i, adapter in enumerate(adapters)]):
            mixed = self._logits(rows)
        difference = max(float((alone - self._reference).abs().max()), float((mixed[0] - plain).abs().max()))
        # equal shapes give equal sums; this much is left for kernels that choose their order as they go
        tolerance = 1e-3 * max(1.0, float(self._reference.abs().max()))
        moved = tuple((a.name, float((mixed[i + 1] - plain).abs().max())) for i, a in enumerate(adapters))
        check = BaseCheck(difference <= tolerance, difference, tolerance, moved, time.time())
        if not check.ok:
            log.error("the base answers differently than when it was loaded: %s", check)
        return check

    def _logits(self, rows: int) -> torch.Tensor:
        """Logits after the probe in a batch of equal ``rows``, ``[rows, vocabulary]`` in float32 on the CPU."""
        import torch

        model: Any = self._model
        inputs = {"input_ids": self._ids.to(model.device).expand(rows, -1)}
        if self._seq2seq:
            # any token starts an answer as well as another: what counts is that both models read the same
            inputs["decoder_input_ids"] = inputs["input_ids"]
        with torch.inference_mode():
            out = model(**inputs, use_cache=False)
        return out.logits[:, -1].float().cpu()
