"""Batches of similar length: every text once, no batch above the room, the longest first."""

from __future__ import annotations

import random

from studio.ml.models.batching import batches_by_length


def test_every_text_once_and_padded_within_the_room() -> None:
    draw = random.Random(3)
    lengths = [draw.randint(1, 40) for _ in range(200)]
    batches = list(batches_by_length(lengths, 100))
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    assert all(max(lengths[i] for i in batch) * len(batch) <= 100 for batch in batches)
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_by_hand() -> None:
    assert list(batches_by_length([3, 1, 2, 3], 6)) == [[0, 3], [1, 2]]
    assert list(batches_by_length([9, 2], 4)) == [[0], [1]]  # one that is longer than the room goes alone
    assert list(batches_by_length([], 4)) == []
