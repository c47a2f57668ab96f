"""The operator's password: who has given it, and how fast one may guess.

Whoever gives the right password gets a random secret, which a browser keeps in a cookie; this server keeps its hash for a set
time. A wrong password makes the next tries slower, never impossible: a right one is always answered as such, so that nobody
who shares the operator's address (a class room, a proxy) can lock the operator out.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from studio.config import Settings
from studio.errors import NotAllowedError

#: Seconds for which a wrong password counts, and how many are remembered.
FORGET_S, REMEMBERED = 900.0, 10_000
#: Tries of one address that may wait at once: what bounds how many guesses a second can be made side by side.
WAITING = 32


@dataclass(frozen=True)
class Pace:
    """How wrong passwords slow the next try: the first ``free`` of them not at all, then 1 s, 2 s, 4 s … ``longest`` s."""

    free: int
    longest: float

    def delay(self, wrong: int) -> float:
        """Seconds a try waits after ``wrong`` wrong ones."""
        return 0.0 if wrong < self.free else min(self.longest, 2.0 ** min(wrong - self.free, 10))


#: Of one page; of one address, which many may share; of all together, for whoever guesses from many addresses.
SESSION, ADDRESS, EVERYBODY = Pace(1, 30.0), Pace(5, 10.0), Pace(50, 5.0)


@dataclass(frozen=True)
class _Try:
    at: float
    address: str
    session: str


class Gate:
    """Checks the operator's password and knows who gave it. One a server; safe to use from many threads."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._password = settings.admin_password.encode()
        self._lasts = settings.operator_hours * 3600
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._wrong: deque[_Try] = deque(maxlen=REMEMBERED)
        self._waiting: Counter[str] = Counter()
        self._ends: dict[str, float] = {}

    @property
    def open(self) -> bool:
        """Whether no password is set, so that everybody is the operator."""
        return not self._password

    async def check(self, password: str, address: str = "", session: str = "") -> None:
        """Return once the password is found right; that may take a while after wrong ones.

        Args:
            address: where the try comes from.
            session: the page it comes from, as far as it says so.

        Raises:
            NotAllowedError: it is wrong, or ``WAITING`` other tries from this address wait already.
        """
        if self.open:
            return
        this = _Try(self._clock(), address, session)
        with self._lock:
            if self._waiting[address] >= WAITING:
                raise NotAllowedError("Too many passwords are being tried from this address; try again in a moment.")
            delay = self._delay(this)
            # counted before it is known to be wrong, so that tries made at once wait for each other
            self._wrong.append(this)
            self._waiting[address] += 1
        try:
            await self._sleep(delay)
        finally:
            with self._lock:
                self._waiting[address] -= 1
                self._waiting += Counter()  # forgets those at 0
        right = hmac.compare_digest(password.encode(errors="replace"), self._password)
        with self._lock:
            if right:
                kept = [one for one in self._wrong if one is not this and (one.session != session or not session)]
                self._wrong = deque(kept, maxlen=REMEMBERED)
                return
            wait = self._delay(this)
        after = f" The next try is answered after {wait:.0f} s." if wait else ""
        raise NotAllowedError(f"That is not the operator's password (STUDIO_ADMIN_PASSWORD).{after}")

    def admit(self) -> str:
        """A new secret that stands for the operator until it is locked, its time is over or this server ends."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._ends = {key: end for key, end in self._ends.items() if end > now}
            self._ends[_key(secret)] = now + self._lasts
        return secret

    def knows(self, secret: str) -> bool:
        """Whether this secret stands for the operator now; without a password set, everybody is."""
        with self._lock:
            return self.open or self._ends.get(_key(secret), 0.0) > self._clock()

    def lock(self, secret: str) -> None:
        """Forget a secret."""
        with self._lock:
            self._ends.pop(_key(secret), None)

    def _delay(self, this: _Try) -> float:
        """Seconds that a try waits for the wrong ones before it."""
        while self._wrong and self._clock() - self._wrong[0].at >= FORGET_S:
            self._wrong.popleft()
        session = sum(one.session == this.session for one in self._wrong) if this.session else 0
        address = sum(one.address == this.address for one in self._wrong)
        return max(SESSION.delay(session), ADDRESS.delay(address), EVERYBODY.delay(len(self._wrong)))


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
