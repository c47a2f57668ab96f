"""The presenter's live tally of a vote: how far it is, how fast, and (if the operator wants it shown) who leads."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from studio.domain.votes import Ballots, Progress
from studio.services.rating.service import RatingService
from studio.ui.parts.html import Macros

_HTML = Macros("rating/tally.html")

#: Seconds between two looks at the store, however many pages show the tally; and between two countings of all votes.
LOOK_S, COUNT_S = 0.8, 3.0
WINDOW_S = 60.0


@dataclass(frozen=True)
class PlayerTally:
    """One of those who answered: preferred in ``wins`` of ``votes`` votes against others, ``even`` more were tie or both
    bad."""

    label: str
    wins: int
    even: int
    votes: int


@dataclass(frozen=True)
class Standing:
    """What one look saw. ``recent`` votes came in during the last ``window`` seconds (at most 60)."""

    progress: Progress
    open: bool
    recent: int
    window: float
    players: tuple[PlayerTally, ...]


class Tally:
    """One for all pages of a server that show a room; pages that look within the same second share one look."""

    def __init__(self, rating: Callable[[], RatingService], clock: Callable[[], float] = time.monotonic) -> None:
        self._rating, self._clock = rating, clock
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._open = True
        self._looked = self._counted = float("-inf")
        self._past: deque[tuple[float, int]] = deque()
        self._players: tuple[PlayerTally, ...] = ()
        self._players_of: Progress | None = None

    def look(self, names: bool) -> Standing:
        """How things stand; ``names``: with those who answered."""
        with self._lock:
            now = self._clock()
            if self._progress is None or now - self._looked >= LOOK_S:
                rating = self._rating()
                self._progress, self._open = rating.progress(None), rating.rules().open
                self._looked = now
                self._past.append((now, self._progress.votes))
                while now - self._past[0][0] > WINDOW_S:
                    self._past.popleft()
            if names and self._players_of != self._progress and now - self._counted >= COUNT_S:
                self._players, self._players_of, self._counted = players(self._rating().ballots()), self._progress, now
            since, before = self._past[0]
            return Standing(
                progress=self._progress,
                open=self._open,
                recent=max(0, self._progress.votes - before),
                window=now - since,
                players=self._players if names else (),
            )


def players(ballots: Ballots) -> tuple[PlayerTally, ...]:
    """Those who answered the pairs that are still shown, most preferred first. Two samples of one are no contest."""
    pairs = {pair.id: pair for pair in ballots.pairs if not pair.retired}
    labels: dict[str, str] = {}
    counts: dict[str, list[int]] = {}
    for vote in ballots.votes:
        pair = pairs.get(vote.pair_id)
        if pair is None or vote.choice == "skip" or pair.origin_1.player == pair.origin_2.player:
            continue
        for side, origin in (("1", pair.origin_1), ("2", pair.origin_2)):
            labels.setdefault(origin.player, origin.label)
            count = counts.setdefault(origin.player, [0, 0, 0])
            count[0] += vote.choice == side
            count[1] += vote.choice in ("tie", "both_bad")
            count[2] += 1
    listed = [PlayerTally(labels[who], *count) for who, count in counts.items()]
    return tuple(sorted(listed, key=lambda p: (-p.wins / p.votes, p.label)))


def tally_html(standing: Standing) -> Markup:
    """The tally as the page shows it."""
    progress = standing.progress
    # in steps of ten seconds, so that the page is not drawn anew each second while nothing happens
    span = "minute" if standing.window >= WINDOW_S - 2 else f"{max(1, math.ceil(standing.window / 10)) * 10} s"
    pace = f"{standing.recent} in the last {span}" if standing.recent else ""
    return _HTML.tally(standing, pace, progress.decided / progress.pairs if progress.pairs else 0.0)
