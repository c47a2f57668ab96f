"""Figures in text, as every sentence, card and view writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Where there is no figure.
NONE = "–"


def counted(number: int, word: str) -> str:
    """``1 vote``, ``2,000 votes``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """A share in whole per cent, or a dash where there is none."""
    return NONE if math.isnan(share) else f"{share:.0%}"


def bounds(low: float, high: float) -> str:
    """An interval of shares: ``[43%, 65%]``."""
    return f"[{low:.0%}, {high:.0%}]"


def ratio(part: int, whole: int) -> str:
    """``part`` of ``whole`` in whole per cent, or a dash where there is nothing."""
    return f"{part / whole:.0%}" if whole else NONE


def decimal(value: float | None, form: str = ".2f") -> str:
    """A number in the given format, or a dash where there is none."""
    return true_minus(format(value, form)) if value is not None and math.isfinite(value) else NONE


def signed(number: float, digits: int, plus: bool = True) -> str:
    """With its sign (``plus``: also above zero) and a true minus; nothing rounds to minus zero."""
    text = f"{abs(number):.{digits}f}"
    if float(text) == 0:
        return text
    return f"−{text}" if number < 0 else f"{'+' if plus else ''}{text}"


def true_minus(number: str) -> str:
    """A number that was formatted already, with a true minus."""
    return number.replace("-", "−")


def duration(seconds: float) -> str:
    """How long something takes, in the unit a person would use."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def file_size(size: int) -> str:
    """Bytes as ``1.2 MB`` or ``34 kB``."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def shortened(text: str, most: int) -> str:
    """``text`` cut to ``most`` characters, the last of them an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(names: Sequence[str], most: int = 60) -> str:
    """Names in a row; beyond ``most`` only how many more."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
