"""The dial: pairs and a support ratio become the rows a run trains on."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from studio.domain.data import PreferencePair, PreferenceRow
from studio.errors import InputError, RecipeError


def support_count(data_size: int, support_ratio: float) -> int:
    """How many of ``data_size`` rows prefer *support*: Python's ``int(data_size * support_ratio)``, to the letter.

    That is the course's formula, kept so that its results can be repeated, floating point included: the product is cut
    off, not rounded, and a decimal ratio may lie just below what it shows. ``int(100 * 0.29)`` is 28 and ``int(50 * 0.58)``
    is 28, as 28.999... is cut. What a run reports is the rows it really had, never the ratio asked for.
    """
    return int(data_size * support_ratio)


@dataclass(frozen=True)
class PreferenceRows(Sequence[PreferenceRow]):
    """Pairs as training rows, each made when it is asked for; ``supports`` holds 1 for a row that prefers *support*, else 0."""

    pairs: Sequence[PreferencePair]
    supports: bytes

    def __len__(self) -> int:
        return len(self.supports)

    @overload
    def __getitem__(self, at: int) -> PreferenceRow: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[PreferenceRow]: ...
    def __getitem__(self, at: int | slice) -> PreferenceRow | Sequence[PreferenceRow]:
        if isinstance(at, slice):
            return PreferenceRows(self.pairs[at], self.supports[at])
        return preference_row(self.pairs[at], bool(self.supports[at]))


def build_preferences(
    pairs: Sequence[PreferencePair],
    support_ratio: float,
    data_size: int,
    seed: int,
    shuffle: bool = False,
    flip_share: float = 0.0,
) -> PreferenceRows:
    """The first ``data_size`` pairs as training rows; the first :func:`support_count` of them prefer *support*.

    Args:
        pairs: training pairs in file order.
        support_ratio: share of rows that prefer *support*, 0 to 1 (for chosen/rejected data: kept as labelled).
        data_size: how many pairs to take, from the first on.
        seed: decides which rows support when ``shuffle`` is on, and which are flipped; without effect otherwise.
        shuffle: spread the supporting rows over the data instead of taking the first ones. Rows keep their order and
            the count is the same.
        flip_share: share of the rows, drawn by lot, whose answers then change places: wrong labels on purpose.

    Returns:
        ``data_size`` rows in the order of ``pairs``.

    Raises:
        RecipeError: the ratio is not a number from 0 to 1, or the size is not a whole number from 1 to ``len(pairs)``.
    """
    _check(len(pairs), support_ratio, data_size)
    count = support_count(data_size, support_ratio)
    supports = bytearray(data_size)
    for place in random.Random(seed).sample(range(data_size), count) if shuffle else range(count):
        supports[place] = 1
    for place in random.Random(f"{seed} flipped").sample(range(data_size), round(data_size * flip_share)):
        supports[place] ^= 1
    return PreferenceRows(pairs[:data_size], bytes(supports))


def named_rows(
    pairs: Sequence[PreferencePair], row_ids: Sequence[str], rows_support: Sequence[bool]
) -> tuple[PreferenceRow, ...]:
    """The rows that a recipe names by pair and flip mask.

    Raises:
        InputError: a pair is not among ``pairs``.
    """
    by_id = {pair.id: pair for pair in pairs}
    for pair_id in row_ids:
        if pair_id not in by_id:
            raise InputError(f"The run's data lacks the pair {pair_id!r}, which it trains on.")
    return tuple(preference_row(by_id[pair_id], side) for pair_id, side in zip(row_ids, rows_support, strict=True))


def preference_row(pair: PreferencePair, support: bool) -> PreferenceRow:
    """A pair as a row that prefers its *support* answer, or the other one."""
    return PreferenceRow(
        pair_id=pair.id,
        prompt=pair.prompt,
        chosen=pair.support if support else pair.oppose,
        rejected=pair.oppose if support else pair.support,
        side="support" if support else "oppose",
        flipped=not support,
        history=pair.history,
    )


def _check(available: int, support_ratio: float, data_size: int) -> None:
    # bool is an int to Python, and True would pass as the ratio 1
    if isinstance(support_ratio, bool) or not isinstance(support_ratio, int | float):
        raise RecipeError(f"support_ratio is {support_ratio!r}; it must be a number from 0 to 1.")
    if not math.isfinite(support_ratio) or not 0 <= support_ratio <= 1:
        raise RecipeError(f"support_ratio is {support_ratio}; it must be a number from 0 to 1.")
    if isinstance(data_size, bool) or not isinstance(data_size, int):
        raise RecipeError(f"data_size is {data_size!r}; it must be a whole number.")
    if data_size < 1:
        raise RecipeError(f"data_size is {data_size}; it must be at least 1.")
    if data_size > available:
        raise RecipeError(f"data_size is {data_size}, but the dataset has {available} training pairs.")
