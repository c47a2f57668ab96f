"""How far an evaluation is."""

from __future__ import annotations

from dataclasses import dataclass

from studio.domain.evaluations import EvaluationState
from studio.store.evaluations import MOVING

RESUMABLE: tuple[EvaluationState, ...] = ("cancelled", "failed", "interrupted")


@dataclass(frozen=True)
class EvaluationStatus:
    """How far an evaluation is.

    Attributes:
        done, total: rows (a question, a sample, an adapter) stored and asked for.
        message: why it ended, where that is not plain; ``note`` what it waits for now.
        ahead: how many others this process works on before it.
        seconds: worked on it since it was started or resumed; ``eta`` roughly what is left, None while unknown.
    """

    id: str
    title: str
    state: EvaluationState
    done: int
    total: int
    message: str = ""
    note: str = ""
    ahead: int = 0
    seconds: float = 0.0
    eta: float | None = None

    @property
    def busy(self) -> bool:
        """Whether it waits for its turn or is at work."""
        return self.state in MOVING

    @property
    def resumable(self) -> bool:
        """Whether it stopped before its end and can go on."""
        return self.state in RESUMABLE
