"""Fetching one base at a time in the background of a server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from studio.errors import ConflictError, StudioError
from studio.services.models.service import ModelService

log = logging.getLogger(__name__)

#: Seconds that a server which ends waits for its fetch to do so; a child process is looked at five times a second.
_END_S = 2.0


@dataclass(frozen=True)
class Fetch:
    """How fetching a base stands: ``share`` of it is done (0..1), ``text`` says what is being done or why it failed."""

    base: str
    state: Literal["fetching", "done", "failed", "cancelled"] = "fetching"
    share: float = 0.0
    text: str = ""


class BaseFetches:
    """Fetches bases in a thread that ends with the server. Safe to use from many threads."""

    def __init__(self, models: ModelService) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._cancel = threading.Event()
        self._last: Fetch | None = None
        self._thread: threading.Thread | None = None

    def last(self) -> Fetch | None:
        """The newest fetch of this server, None before the first."""
        return self._last

    def report(self, base: str, text: str) -> None:
        """Note why a base is not fetched."""
        self._last = Fetch(base, "failed", text=text)

    def start(self, base: str, accept_terms: bool = False, done: Callable[[], None] = lambda: None) -> None:
        """Begin to fetch a base; ``done`` is called in the thread once it is on this machine.

        Raises:
            ConflictError: another is being fetched.
            InputError, ModelLoadError: not a base's id, or its terms are not accepted.
        """
        self._models.check_terms(base, accept_terms)
        with self._lock:
            if self._last and self._last.state == "fetching":
                raise ConflictError(f"{self._last.base} is being fetched; wait until it is here, or cancel it.")
            self._cancel.clear()
            self._last = Fetch(base, text=f"Fetching {base}")
            self._thread = threading.Thread(
                target=self._fetch, args=(base, accept_terms, done), name="fetch-base", daemon=True
            )
            self._thread.start()

    def cancel(self) -> None:
        """Have the fetch in progress end; nothing happens where there is none."""
        self._cancel.set()

    def leave(self) -> None:
        """This server ends: a fetch in progress ends with it, and leaves neither a process nor half a base."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _fetch(self, base: str, accept_terms: bool, done: Callable[[], None]) -> None:
        fetch = Fetch(base)

        def say(share: float, text: str) -> None:
            self._last = replace(fetch, share=share, text=text)

        try:
            self._models.resolve(base, say, accept_terms=accept_terms, cancelled=self._cancel.is_set)
        except StudioError as error:
            log.warning("%s was not fetched: %s", base, error)
            cancelled = self._cancel.is_set()
            self._last = replace(fetch, state="cancelled" if cancelled else "failed", text=str(error))
        except Exception:
            log.exception("fetching %s failed", base)
            self._last = replace(
                fetch, state="failed", text=f"{base} could not be fetched; the server's log has the details."
            )
        else:
            self._last = replace(fetch, state="done", share=1.0, text=f"{base} is ready.")
            done()
