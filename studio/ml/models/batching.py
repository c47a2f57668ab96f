"""Texts of unlike length through a model, in batches that fit its memory. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches_by_length(lengths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, the longest first; padded to its longest, a batch has at most ``room`` tokens (or
    is one text)."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    while order:
        # from the longest on, so that the size of a batch is known from one text of it
        size = max(1, room // lengths[order[-1]])
        chosen, order = order[-size:], order[:-size]
        yield chosen
