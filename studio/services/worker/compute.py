"""Where runs are carried out: one protocol; :mod:`studio.services.worker.local`, :mod:`studio.services.worker.lent` and
:mod:`studio.services.cluster.compute` keep it.

Whoever carries a run out writes its folder, status included, and obeys ``stop.json`` there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from studio.domain.runs import RunState, RunStatus
from studio.services.runs.status import StopRequest


@dataclass(frozen=True)
class End:
    """How a run ended, for one that did not write down its last word itself."""

    state: RunState
    message: str


class Compute(Protocol):
    """The runs in its hands, by run id. ``poll_s``: seconds between two looks at them."""

    @property
    def poll_s(self) -> float:
        """See above."""

    def taken(self) -> Collection[str]:
        """The runs it has in its hands, those that wait for room included."""

    def free(self) -> bool:
        """Whether it takes another run now."""

    def submit(self, run_id: str) -> bool:
        """Take a queued run; False where it is not to be had (it left the queue meanwhile, or nobody can take it yet: then its status
        says what it waits for).

        Raises:
            OSError: no process can be made.
            StudioError: its folder cannot be read.
        """

    def adopt(self, run_id: str, status: RunStatus) -> bool:
        """Whether a run that moves and is in nobody's hands here has an owner all the same, or is seen to by this call."""

    def stop(self, run_id: str, asked: StopRequest) -> None:
        """Somebody wants the run to end; called again and again until it did."""

    def state(self, run_id: str) -> End | None:
        """None while a run is in its hands; once it has ended, how, and it is let go."""

    def close(self, abandon: bool) -> None:
        """This process ends. What is at work goes on, unless it is to be ``abandon``\\ ed."""
