"""Who may do what: visitors chat and look; training, deleting, importing and publishing are the operator's.

Without ``STUDIO_ADMIN_PASSWORD`` the studio runs on somebody's own machine and every visitor is the operator. With it,
a page becomes the operator's by entering the password; the mark lives in that page's ``gr.State`` on the server and is
checked in the handler, because hiding a button locks nothing.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable

import gradio as gr

from studio.config import Settings
from studio.errors import NotAllowedError

#: Wrong passwords allowed within ``WINDOW_S`` seconds from one address, and from all together (whoever guesses from many).
TRIES, TRIES_OF_ALL, WINDOW_S = 5, 50, 60.0


class Visitor:
    """What the server remembers of one open page. Not a dataclass, since Gradio would take it apart."""

    def __init__(self, operator: bool = False) -> None:
        self.operator = operator


class Gate:
    """Checks the operator's password, and makes guessing slow. One for all pages of a server."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._password = settings.admin_password.encode()
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: list[tuple[float, str]] = []

    def unlock(self, password: str, address: str = "") -> Visitor:
        """The operator's mark for the right password; without a password set, everybody's.

        Raises:
            NotAllowedError: it is wrong, or there were too many wrong ones lately (then a right one waits, too: an answer
                would tell it from a wrong one).
        """
        if not self._password:
            return Visitor(operator=True)
        with self._lock:
            now = self._clock()
            self._wrong = [(at, who) for at, who in self._wrong if now - at < WINDOW_S]
            everybody = [at for at, _ in self._wrong]
            same = [at for at, who in self._wrong if who == address]
            if len(same) >= TRIES or len(everybody) >= TRIES_OF_ALL:
                oldest = same[-TRIES] if len(same) >= TRIES else everybody[-TRIES_OF_ALL]
                left = max(1, round(WINDOW_S - (now - oldest)))
                raise NotAllowedError(f"Too many wrong passwords; try again in {left} s.")
            if not hmac.compare_digest(password.encode(), self._password):
                self._wrong.append((now, address))
                raise NotAllowedError("That is not the operator's password (STUDIO_ADMIN_PASSWORD); try again.")
        return Visitor(operator=True)


def new_visitor(settings: Settings) -> Visitor:
    """The visitor of a freshly opened page."""
    return Visitor(operator=not settings.admin_password)


def require_operator(visitor: Visitor, action: str) -> None:
    """Refuse ``action`` (a gerund: "training") to visitors.

    Raises:
        NotAllowedError: the page is not the operator's.
    """
    if not visitor.operator:
        raise NotAllowedError(f"Visitors may chat and look; {action} needs the operator's password (top right).")


def address_of(request: gr.Request) -> str:
    """Where a request came from, as far as this server sees it (behind a proxy: the proxy)."""
    client = getattr(request, "client", None)
    return str(client.host) if client else ""
