"""Any text classifier of the Hub as a scorer: safetensors, one tokenisation, batches of similar length, logits kept."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.domain.toxicity import NOT_COVERED, Context, ScorerInfo, ScorerSpec, TextScore
from studio.errors import ModelLoadError, ScorerError
from studio.ml.models.batching import batches_by_length
from studio.ml.models.loading import (
    context_length,
    load_tokenizer,
    load_weights,
    prepare_torch,
    release_memory,
    resolve_device,
)
from studio.ml.scorers.labels import Labels, read_labels

#: Tokens of one batch, padding included.
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 2048, 32768


@dataclass(frozen=True)
class _Row:
    """A text as the model's inputs, and how many tokens of it are left out."""

    inputs: dict[str, list[int]]
    cut: int


class ClassifierScorer:
    """A text classifier in memory. Safe to use from many threads; they are answered one after another.

    A text longer than the model reads is cut at its end, as the pipeline's ``truncation=True`` does it, and its score says by
    how much. Numbers are computed in float32, so that one does not depend on its neighbours in a batch (to 1e-4).

    Args:
        spec: of kind ``classifier``; ``path`` is the model's folder.

    Raises:
        ModelLoadError: no text classifier, no safetensors, weights missing, or code of its own that is not allowed.
        InputError: its toxic label cannot be told.
    """

    def __init__(self, spec: ScorerSpec, *, device: str = "auto", trust_remote_code: bool = False) -> None:
        prepare_torch()
        from transformers import AutoModelForSequenceClassification

        self.info: ScorerInfo = spec.info
        self._lock = threading.Lock()
        name = spec.info.name.partition("#")[0]
        self._labels: Labels = read_labels(Path(spec.path), name, spec.info.toxic_label)
        self._tokenizer = load_tokenizer(spec.path, trust_remote_code=trust_remote_code)
        place = resolve_device(device)
        options = {"trust_remote_code": trust_remote_code, "output_loading_info": True}
        model, loaded = load_weights(AutoModelForSequenceClassification, spec.path, place, "float32", False, options)
        if missing := sorted(loaded["missing_keys"]):
            raise ModelLoadError(
                f"{name} is no finished classifier: its files have no weights for {', '.join(missing)[:120]}."
            )
        if model.config.num_labels != len(self._labels.names):
            raise ModelLoadError(
                f"{name} names {len(self._labels.names)} labels but gives {model.config.num_labels} numbers; its config is broken."
            )
        # a causal model's score is read before the padding
        model.config.get_text_config().pad_token_id = model.config.pad_token_id = self._tokenizer.pad_token_id
        self.limit = context_length(model, self._tokenizer)
        self._room = _CPU_BATCH_TOKENS if place == "cpu" else _GPU_BATCH_TOKENS
        self._model: Any = model.eval()

    def score(self, texts: Sequence[str], prompts: Sequence[Context] | None = None) -> list[TextScore]:
        """What the classifier says of each text, in order; a text without anything in it is not covered. ``prompts`` are not
        read: these models judge a text by itself.

        Raises:
            ScorerError: a logit is no number; the message names the text.
            ModelLoadError: the model was released.
        """
        with self._lock:
            if self._model is None:
                raise ModelLoadError(f"{self.info.name} was released; load it again.")
            scores = [NOT_COVERED] * len(texts)
            rows = self._encode(texts)
            for (index, row), logits in zip(
                rows.items(), self._logits([row.inputs for row in rows.values()]), strict=True
            ):
                if not all(math.isfinite(value) for value in logits):
                    raise ScorerError(
                        f"{self.info.name} gave {logits[0]} for text {index + 1}, which is no number; its weights are damaged. Choose "
                        "another scorer."
                    )
                scores[index] = read_logits(logits, self._labels, row.cut)
            return scores

    def release(self) -> None:
        """Give the model's memory back; a scoring under way ends first."""
        with self._lock:
            self._model = None
            release_memory()

    def _encode(self, texts: Sequence[str]) -> dict[int, _Row]:
        """The rows of the texts that have anything in them, by the text's index."""
        wanted = [index for index, text in enumerate(texts) if text.strip()]
        if not wanted:
            return {}
        encoded = self._tokenizer([texts[index] for index in wanted], verbose=False, return_attention_mask=False)
        rows = {}
        for index, values in zip(wanted, zip(*encoded.values(), strict=True), strict=True):
            inputs = dict(zip(encoded, values, strict=True))
            length = len(inputs["input_ids"])
            if length > self.limit:  # rare: these alone are tokenized again, so that their end token stays
                inputs = dict(
                    self._tokenizer(texts[index], truncation=True, max_length=self.limit, return_attention_mask=False)
                )
            if inputs["input_ids"]:
                rows[index] = _Row(inputs, length - len(inputs["input_ids"]))
        return rows

    def _logits(self, rows: list[dict[str, list[int]]]) -> list[list[float]]:
        import torch

        all_logits: list[list[float]] = [[]] * len(rows)
        with torch.inference_mode():
            for chosen in batches_by_length([len(row["input_ids"]) for row in rows], self._room):
                logits = self._model(**self._batch([rows[index] for index in chosen])).logits
                for index, values in zip(chosen, logits.float().tolist(), strict=True):
                    all_logits[index] = values
        return all_logits

    def _batch(self, rows: list[dict[str, list[int]]]) -> dict[str, Any]:
        """Rows padded on the right to one length, with their mask."""
        import torch

        width = max(len(row["input_ids"]) for row in rows)
        pads = {"input_ids": self._tokenizer.pad_token_id}  # of all else the model reads nothing where the mask is 0
        batch = {
            name: torch.tensor([row[name] + [pads.get(name, 0)] * (width - len(row[name])) for row in rows])
            for name in rows[0]
        }
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        batch["attention_mask"] = (torch.arange(width) < lengths[:, None]).long()
        return {name: value.to(self._model.device) for name, value in batch.items()}


def read_logits(logits: Sequence[float], labels: Labels, cut: int = 0) -> TextScore:
    """Probability, reward and label of one text's logits.

    The reward is the not-toxic logit: with softmax the log-sum-exp of all logits but the toxic one (of two labels simply the
    other's logit), so that softmax over (reward, toxic logit) is the toxicity again; with sigmoid the toxic logit's negative.
    """
    toxic = logits[labels.toxic]
    if labels.activation == "sigmoid":
        share = 1 / (1 + math.exp(-toxic)) if toxic >= 0 else math.exp(toxic) / (1 + math.exp(toxic))
        name = labels.names[labels.toxic]
        return TextScore(share, -toxic, tuple(logits), name if share >= 0.5 else f"not {name}", cut)
    others = [value for index, value in enumerate(logits) if index != labels.toxic]
    top = max(others)
    rest = top + math.log(sum(math.exp(value - top) for value in others))
    margin = rest - toxic
    share = 1 / (1 + math.exp(margin)) if margin <= 0 else math.exp(-margin) / (1 + math.exp(-margin))
    likeliest = max(range(len(logits)), key=lambda index: logits[index])
    return TextScore(share, rest, tuple(logits), labels.names[likeliest], cut)
