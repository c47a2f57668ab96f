"""What an answerer is asked: a base, and rows that name who answers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.domain.chat import BASE, Blend
from studio.domain.data import Message
from studio.domain.runs import BaseModelRef
from studio.errors import InputError


@dataclass(frozen=True)
class BaseSource:
    """A base to load: what it is, where it lies, and whether in 4 bits."""

    ref: BaseModelRef
    path: Path
    load_in_4bit: bool = False


@dataclass(frozen=True)
class GenRow:
    """One row of a request. ``adapter`` is a run id or :data:`studio.domain.chat.BASE`; ``seed`` None takes the request's;
    ``strength`` multiplies the update of the weights, which is the adapter's or that of its ``blend`` with another one."""

    messages: tuple[Message, ...]
    adapter: str = BASE
    seed: int | None = None
    strength: float = 1.0
    blend: Blend | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The adapters it answers through; none for the base."""
        own = () if self.adapter == BASE else (self.adapter,)
        return own if self.blend is None else (*own, self.blend.run_id)

    @property
    def name(self) -> str:
        """The one adapter that it answers through, or the name of its blend."""
        if self.blend is None or self.blend.weight == 1:
            return self.adapter
        if self.blend.weight == 0:
            return self.blend.run_id
        return f"{self.blend.weight!r} {self.adapter} + {self.blend.run_id}"

    @property
    def voice(self) -> tuple[str, float] | None:
        """:attr:`name` and strength; None for the base, which an adapter at 0 is to the last bit: nothing is added then."""
        return (self.name, self.strength) if self.adapter != BASE and self.strength else None


def check_rows(rows: Sequence[GenRow], adapters: Mapping[str, Path]) -> None:
    """Raises InputError where there are no rows, or one needs an adapter of which no folder is given."""
    if not rows:
        raise InputError("There is no pane to answer.")
    missing = {name for row in rows for name in row.needs} - {*adapters}
    if missing:
        raise InputError(f"No folder was given for {', '.join(sorted(missing))}.")
