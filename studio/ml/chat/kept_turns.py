"""Keys and values of conversations answered before, so that the next turn computes only what is new in it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache, PreTrainedModel

#: Memory for kept keys and values; beyond it the conversation unused for longest goes.
KEPT_BYTES = 256_000_000


@dataclass(frozen=True)
class Row:
    """A conversation to be answered: ``who`` answers (base or adapter, with its version), and its token ids."""

    who: Hashable
    ids: Sequence[int]


@dataclass(frozen=True)
class Prefilled:
    """A batch whose first columns are known.

    Attributes:
        input_ids, attention_mask: ``[rows, columns]``; each row is padded on the left of its known tokens and again on the left
            of its new ones.
        cache: keys and values of the columns before the new tokens; None where nothing is known.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    cache: DynamicCache | None


@dataclass(frozen=True)
class _Kept:
    """Token ids and, a layer, their keys and values ``[heads, tokens, size]``."""

    row: Row
    layers: list[tuple[torch.Tensor, torch.Tensor]]

    @property
    def size_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for pair in self.layers for t in pair)


class KeptTurns:
    """Belongs to one model and, like it, to one thread."""

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self._limit = limit_bytes
        self._kept: list[_Kept] = []  # the last used one last

    def prefill(self, model: PreTrainedModel, rows: Sequence[Row], pad_id: int, room: int) -> Prefilled:
        """``rows`` as a batch for ``generate``, from the keys and values kept of their earlier turns where that spares at least
        half of the work; ``room`` more tokens are going to follow."""
        import torch

        chosen = [self._longest(row) for row in rows]
        known = max(length for _, length in chosen)
        new = max(len(row.ids) - length for row, (_, length) in zip(rows, chosen, strict=True))
        # sliding layers count columns, not positions: padding between the parts would shift what they see
        window = getattr(model.config.get_text_config(decoder=True), "sliding_window", None) or known + new + room + 1
        if 2 * new > max(len(row.ids) for row in rows) or known + new + room >= window:
            chosen, known = [(None, 0)] * len(rows), 0
            new = max(len(row.ids) for row in rows)
        ids, mask = [], []
        for row, (_, length) in zip(rows, chosen, strict=True):
            left, middle = known - length, new - (len(row.ids) - length)
            ids.append([*[pad_id] * left, *row.ids[:length], *[pad_id] * middle, *row.ids[length:]])
            mask.append([*[0] * left, *[1] * length, *[0] * middle, *[1] * (len(row.ids) - length)])
        cache = self._cache(model, chosen, known) if known else None
        device = model.device
        return Prefilled(torch.tensor(ids, device=device), torch.tensor(mask, device=device), cache)

    def keep(
        self, rows: Sequence[Row], attention_mask: torch.Tensor, answers: Sequence[Sequence[int]], cache: Any
    ) -> None:
        """Keep what ``generate`` left in ``cache`` for ``rows`` and the tokens of their answers. Caches that do not hold all
        columns (state-space layers, a sliding window that is full) are not kept."""
        import torch
        from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

        layers = getattr(cache, "layers", [])
        if not layers or any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
            return
        columns, start = layers[0].keys.shape[2], attention_mask.shape[1]
        if columns < start or any(layer.keys.shape[2] != columns for layer in layers):
            return
        for index, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            answer = answer[: columns - start]  # the last token of all was never put in
            written = torch.arange(start, start + len(answer), device=attention_mask.device)
            places = torch.cat([attention_mask[index].nonzero()[:, 0], written])
            parts = [(layer.keys[index][:, places], layer.values[index][:, places]) for layer in layers]
            self._remember(_Kept(Row(row.who, (*row.ids, *answer)), parts))

    def _remember(self, new: _Kept) -> None:
        self._kept = [
            old
            for old in self._kept
            if old.row.who != new.row.who or _common(old.row.ids, new.row.ids) < len(old.row.ids)
        ]
        self._kept.append(new)
        while self._kept and sum(kept.size_bytes for kept in self._kept) > self._limit:
            del self._kept[0]

    def _longest(self, row: Row) -> tuple[_Kept | None, int]:
        """The kept conversation that begins as ``row`` does for longest, and for how many tokens; at least one stays new."""
        best, longest = None, 0
        for kept in self._kept:
            length = min(_common(kept.row.ids, row.ids), len(row.ids) - 1) if kept.row.who == row.who else 0
            if length > longest:
                best, longest = kept, length
        if best is not None:
            self._kept.remove(best)
            self._kept.append(best)
        return best, longest

    @staticmethod
    def _cache(model: PreTrainedModel, chosen: Sequence[tuple[_Kept | None, int]], known: int) -> DynamicCache:
        """Keys and values ``[rows, heads, known, size]`` a layer, zeros where a row is padded."""
        import torch
        from torch.nn.functional import pad
        from transformers import DynamicCache

        cache = DynamicCache(config=model.config)
        some = next(kept for kept, _ in chosen if kept is not None)
        for layer, shapes in enumerate(some.layers):
            stacks = []
            for part, shape in enumerate(shapes):
                rows = [
                    shape.new_zeros(shape.shape[0], known, shape.shape[2])
                    if kept is None
                    else pad(kept.layers[layer][part][:, :length], (0, 0, known - length, 0))
                    for kept, length in chosen
                ]
                stacks.append(torch.stack(rows))
            cache.update(stacks[0], stacks[1], layer)
        return cache


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences share from their start."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
