"""Work in progress on one page, and how another click on that page ends it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from typing import Any

from studio.errors import ConflictError


class Live:
    """Held in a ``gr.State``: one piece of work of a page at a time. Not a dataclass, since Gradio would take it apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop: threading.Event | None = None
        self._purposes: Collection[object] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Live:
        """Gradio copies the first value for each page; a lock cannot be copied, and each page needs its own."""
        return Live()

    @contextlib.contextmanager
    def working(self, purposes: Collection[object] = ()) -> Iterator[threading.Event]:
        """Begin; the event is set when the page asks to stop. ``purposes`` tell :meth:`stop` what this work is for.

        Raises:
            ConflictError: this page is at work already.
        """
        stop = threading.Event()
        with self._lock:
            if self._stop is not None:
                raise ConflictError("This page is answering already; stop that first.")
            self._stop, self._purposes = stop, purposes
        try:
            yield stop
        finally:
            with self._lock:
                self._stop = None

    def stop(self, unless: object = None) -> None:
        """Ask the work in progress to end, unless ``unless`` is one of its purposes; nothing happens where there is none."""
        with self._lock:
            if self._stop is not None and (unless is None or unless not in self._purposes):
                self._stop.set()
