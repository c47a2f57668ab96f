"""Figures in sentences, as every reading, card and view words them."""

from __future__ import annotations

import math


def counted(number: int, word: str) -> str:
    """``1 vote``, ``2,000 votes``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """A share in whole per cent, or a dash where there is none."""
    return "–" if math.isnan(share) else f"{share:.0%}"
