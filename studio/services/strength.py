"""How strongly an adapter answers: a factor before its update of the weights. 0 is exactly the base, 1 the adapter as trained; below
0 it goes the other way. And how two adapters answer as one: their updates added with weights w and 1 - w."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from studio.domain.chat import VECTOR, Blend, PaneUpdate, is_base
from studio.errors import InputError
from studio.ml.measure.whole import is_whole, repeats

LOWEST, HIGHEST = -1.0, 2.0


def check_strength(value: object, field: str = "strength") -> float:
    """``value``, if it is a strength.

    Raises:
        InputError: it is no number, or beyond :data:`LOWEST` and :data:`HIGHEST`; the sentence names ``field``.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not LOWEST <= value <= HIGHEST:  # NaN is not
        raise InputError(f"{field} is {str(value)[:60]}; it must be a number from {LOWEST:g} to {HIGHEST:g}.")
    return float(value)


def one_each(values: Sequence[float], count: int, field: str = "strengths", of: str = "models") -> tuple[float, ...]:
    """A strength for each of ``count``: one value is everybody's, none is 1.

    Raises:
        InputError: there are as many neither as one nor as ``count``, or one is no strength.
    """
    checked = tuple(check_strength(value, field) for value in values) or (1.0,)
    if len(checked) not in (1, count):
        raise InputError(f"{field} has {len(checked)} values for {count} {of}; give one value, or one for each.")
    return checked if len(checked) == count else checked * count


def at_strength(value: float) -> str:
    """``" at strength 0.5"``; empty for an adapter as it was trained."""
    return "" if value == 1 else f" at strength {value:g}"


def broken_noted(update: PaneUpdate) -> PaneUpdate:
    """An adapter's finished answer, with a note where it falls apart by the rule of a run's own check."""
    loops = repeats(update.text)
    # an answer that was cut or stopped has no end to look at
    if not update.done or not update.text or is_whole(update.text) or (not loops and update.cut):
        return update
    why = "repeats itself" if loops else "does not end in a sentence"
    return replace(update, note=f"{update.note} This answer falls apart: it {why}.".strip())


def check_weight(value: object, field: str = "weight") -> float:
    """``value``, if it is the weight of an adapter in a blend.

    Raises:
        InputError: it is no number, or not between 0 and 1; the sentence names ``field``.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:  # NaN is not
        raise InputError(f"{field} is {str(value)[:60]}; it must be a number from 0 to 1.")
    return float(value)


def check_blend(run_id: str, blend: Blend | None) -> None:
    """Raises InputError where ``blend`` is none of the adapter ``run_id``: with the base, with itself, a weight out of range."""
    if blend is None:
        return
    check_weight(blend.weight)
    if is_base(run_id) or is_base(blend.run_id):
        raise InputError(
            "The base has no adapter to blend; choose two adapters (an adapter's strength leads to the base)."
        )
    if f"@{VECTOR}" in run_id + blend.run_id:
        raise InputError("A steering vector cannot be blended; choose two adapters.")
    if run_id == blend.run_id:
        raise InputError(f"Both adapters of the blend are {run_id}; choose two different ones.")


def blended_name(name: str, blend: Blend | None) -> str:
    """``"0.7 × a + 0.3 × b"``; the name alone where nothing is blended."""
    return f"{blend.weight:.3g} × {name} + {1 - blend.weight:.3g} × {blend.run_id}" if blend else name
