"""What all raters of a room ask for and may be a moment old: read once for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

#: Seconds until it is read again. Another server's change is noticed that late; one made here at once.
KEPT_S = 1.0
_Value = TypeVar("_Value")


class Recent(Generic[_Value]):
    """Values by room. Not to be asked inside a transaction: reading one may wait for a connection.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[_Value, float]] = {}
        self._forgotten = 0

    def get(self, room: str, read: Callable[[], _Value]) -> _Value:
        """The value as ``read`` gave it at most about :data:`KEPT_S` ago; where it raises, nothing is kept."""
        now = self._clock()
        with self._lock:
            kept, forgotten = self._kept.get(room), self._forgotten
            if kept and now - kept[1] < KEPT_S:
                return kept[0]
            if kept:  # while one reads, the others take what there is
                self._kept[room] = kept[0], now
        try:
            value = read()
        except BaseException:
            self.forget()
            raise
        with self._lock:
            if forgotten == self._forgotten:  # else it may have been read before the change
                self._kept[room] = value, now
        return value

    def forget(self) -> None:
        """Something was changed here: the next one who asks reads."""
        with self._lock:
            self._kept.clear()
            self._forgotten += 1
