"""What a rater presses, in terms of the answers of a pair. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, cast, get_args

from studio.domain.votes import Choice, Press, Reason
from studio.errors import InputError

REASONS: tuple[Reason, ...] = get_args(Reason)
#: A vote that took longer than a day says that the page was left open.
_MAX_SECONDS = 86_400.0


def choice_of(press: object, left: Literal[1, 2]) -> Choice:
    """The choice that ``press`` stands for, where answer ``left`` stood on the left.

    Raises:
        InputError: it is no button.
    """
    if press not in get_args(Press):
        raise InputError(f"press is {str(press)[:40]!r}; use left, right, tie, both_bad or skip.")
    if press in ("left", "right"):
        return "1" if (press == "left") == (left == 1) else "2"
    return cast(Choice, press)


def press_of(choice: Choice, left: Literal[1, 2]) -> Press:
    """The button that stands for ``choice``: :func:`choice_of` backwards."""
    if choice in ("1", "2"):
        return "left" if (choice == "1") == (left == 1) else "right"
    return cast(Press, choice)


def usable_seconds(seconds: object) -> float:
    """``seconds`` as a number of at least 0 and at most a day.

    Raises:
        InputError: it is no number.
    """
    try:
        value = float(cast(float, seconds))
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if math.isnan(value):
        raise InputError(f"seconds is {str(seconds)[:40]!r}; it must be a number.")
    return min(max(value, 0.0), _MAX_SECONDS)


def checked_reasons(reasons: Iterable[object]) -> tuple[Reason, ...]:
    """Reasons each once, in their usual order.

    Raises:
        InputError: one is not known.
    """
    given = list(reasons)
    for reason in given:
        if reason not in REASONS:
            raise InputError(f"reasons names {str(reason)[:40]!r}; use {', '.join(REASONS)}.")
    return tuple(reason for reason in REASONS if reason in given)
