"""The words that moved: an answer token by token under the base and under an adapter."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

from studio.domain.data import PreferenceRow


@dataclass(frozen=True)
class Token:
    """A token of an answer, or several that make one character together.

    Attributes:
        base, adapter: its log-probability in nats behind what stands before it.
        likeliest: what the base finds likeliest here, with probabilities, the first before the others.
    """

    text: str
    base: float
    adapter: float
    likeliest: tuple[tuple[str, float], ...] = ()

    @property
    def difference(self) -> float:
        """How much likelier the adapter makes it, in nats."""
        return self.adapter - self.base


@dataclass(frozen=True)
class MovedWords:
    """An answer's tokens in order, its end among them; ``strength`` is the adapter's, ``beta`` that of a DPO run (None for
    other methods)."""

    tokens: tuple[Token, ...]
    strength: float = 1.0
    beta: float | None = None

    @property
    def base(self) -> float:
        """``log pi_base(answer)`` in nats."""
        return sum(token.base for token in self.tokens)

    @property
    def adapter(self) -> float:
        """``log pi_adapter(answer)`` in nats."""
        return sum(token.adapter for token in self.tokens)

    @property
    def sum(self) -> float:
        """``log pi_adapter(answer) - log pi_base(answer)`` in nats."""
        return sum(token.difference for token in self.tokens)

    @property
    def reward(self) -> float | None:
        """The implicit reward of DPO, ``beta * sum`` (Rafailov et al. 2023, section 5); None without a beta."""
        return None if self.beta is None else self.beta * self.sum

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        tokens = [
            {"text": token.text, "base": token.base, "adapter": token.adapter, "difference": token.difference}
            for token in self.tokens
        ]
        return {"tokens": tokens, "sum": self.sum, "reward": self.reward}

    def strongest(self, count: int = 5) -> list[Token]:
        """The tokens that moved most, in either direction."""
        return heapq.nlargest(count, self.tokens, key=lambda token: abs(token.difference))


@dataclass(frozen=True)
class MovedPair:
    """A row that a run was trained on, and both its answers under the adapter and the base."""

    row: PreferenceRow
    chosen: MovedWords
    rejected: MovedWords

    @property
    def margin(self) -> float:
        """Implicit reward of the preferred answer minus that of the other: what training logs as margin, for this row alone."""
        return (self.chosen.reward or 0.0) - (self.rejected.reward or 0.0)
