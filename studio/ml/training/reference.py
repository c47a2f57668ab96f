"""Reference log-probabilities on disk, one per (base, prompt, answer).

TRL's own cache is keyed by dataset and weights, so every turn of the dial misses it. Turning the dial only swaps which
answer is chosen: the two numbers of a pair stay. Here one JSON file per base holds ``{key of prompt and answer: sum of
log-probabilities in nats}``; all ratios, seeds and datasets that share an answer share its number.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.pairs import EncodedAnswer
from studio.ml.training.trunk import Trunk

_log = logging.getLogger(__name__)


class ReferenceCache:
    """What the untouched base gives to answers. With ``folder`` None it lives in memory only.

    ``base`` names the base and the arithmetic (fingerprint and dtype): log-probabilities in bfloat16 and float32 differ
    in the third digit, so they are never mixed.
    """

    def __init__(self, folder: Path | None, base: str) -> None:
        self.base = base
        self._path = folder / "reference" / f"{base}.json" if folder and base else None
        self._values = _read(self._path)
        self._fresh: dict[str, float] = {}

    def log_probs(
        self, model: Any, answers: Sequence[EncodedAnswer], pad_id: int, trunk: Trunk | None = None
    ) -> list[float]:
        """One summed log-probability an answer, in nats; those not known yet are computed with the adapter off.

        ``model`` is the PEFT model in training (or a bare base); its mode is left as it was.
        """
        keys = [answer.key for answer in answers]
        missing = {key: answer for key, answer in zip(keys, answers, strict=True) if key not in self._values}
        if missing:
            with base_of(model):
                computed = answer_log_probs(model, list(missing.values()), pad_id, trunk=trunk)
            self._fresh.update(zip(missing, computed, strict=True))
            self._values.update(self._fresh)
        return [self._values[key] for key in keys]

    def save(self) -> None:
        """Add what was computed to the file (temporary file + rename). Values another run added meanwhile are kept."""
        if self._path is None or not self._fresh:
            return
        write_json(self._path, {**_read(self._path), **self._fresh})
        self._fresh = {}


@contextlib.contextmanager
def base_of(model: Any) -> Iterator[None]:
    """Within the block ``model`` answers as the untouched base, in evaluation mode."""
    training = model.training
    model.eval()
    try:
        with model.disable_adapter() if hasattr(model, "disable_adapter") else contextlib.nullcontext():
            yield
    finally:
        model.train(training)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` at once, making its folder where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path | None) -> dict[str, float]:
    if path is None or not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in values.items()}
    except (ValueError, AttributeError, TypeError) as error:
        _log.warning("Reference cache %s is not readable (%s) and is built anew.", path, error)
        return {}
