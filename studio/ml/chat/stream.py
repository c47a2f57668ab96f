"""What a request shows, handed from the engine's thread to the one that asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

from studio.domain.chat import PaneUpdate


class PaneStream:
    """The newest updates of a request; what nobody took in time is replaced by what came after."""

    def __init__(self, rows: int) -> None:
        self._condition = threading.Condition()
        self._updates = [PaneUpdate() for _ in range(rows)]
        self._version = 0
        self._over = False
        self._error: BaseException | None = None

    def publish(self, updates: list[PaneUpdate]) -> None:
        """Replace what is shown."""
        with self._condition:
            self._updates = updates
            self._version += 1
            self._condition.notify_all()

    def note(self, text: str) -> None:
        """Show a sentence in every pane, answers unchanged."""
        self.publish([replace(update, note=text) for update in self._updates])

    def finish(self, error: BaseException | None) -> None:
        """Nothing more comes; ``error`` is raised to the one that iterates once it has seen the rest."""
        with self._condition:
            self._over, self._error = True, error
            self._condition.notify_all()

    def __iter__(self) -> Iterator[list[PaneUpdate]]:
        seen = 0
        while True:
            with self._condition:
                while self._version == seen and not self._over:
                    self._condition.wait()
                fresh, seen = self._version > seen, self._version
                updates = self._updates
                over, error = self._over, self._error
            if fresh:
                yield updates
            elif over:
                if error is not None:
                    raise error
                return
