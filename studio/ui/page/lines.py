"""Who waits for what: lines of heavy work beside the queue of what draws the page, so that nobody's work stands before
another's page.

Gradio counts all events as one queue and takes them first come, first served. Here a line of heavy work holds one running and
one waiting event a page, a bounded number an address; of everything else a page has a bounded number waiting; and who has
fewer waiting goes before who has more, the operator before all. A refusal is one sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import fastapi
import gradio as gr
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Event, EventQueue, Queue
from gradio.server_messages import LogMessage, ProgressMessage
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import LRUCache

from studio.i18n import said, speaking
from studio.services.access import Gate
from studio.ui.page.access import address_of, secret_of
from studio.ui.page.door import LARGE, SIZE
from studio.ui.page.languages import language_of

#: Answers wait in the engine's own line; this bounds how many threads wait there. The same for scores, in the scorers' line.
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 16}
SCORING: dict[str, Any] = {"concurrency_id": "score", "concurrency_limit": 8}
#: Before/after tables; each holds a thread for as long as it takes.
TABLE: dict[str, Any] = {"concurrency_id": "table", "concurrency_limit": 2}
#: Bundles and merged models, which fill disk and memory.
FILES: dict[str, Any] = {"concurrency_id": "files", "concurrency_limit": 1}


@dataclass(frozen=True)
class Line:
    """What a line of heavy work holds: ``page`` events of one page waiting beside the one that runs, ``address`` waiting of
    one address and ``everybody`` in all; ``at_once`` of one address running."""

    what: str
    page: int
    address: int
    everybody: int
    at_once: int


LINES = {
    "model": Line("questions", 1, 64, 256, 8),
    "table": Line("tables", 1, 64, 256, 1),
    # a click on Compare may ask anew for what stands below its panes
    "score": Line("texts to score", 3, 64, 256, 4),
    "files": Line("files to make", 1, 16, 64, 1),
}
#: Other events of one page that wait or whose outcome it has not read, and of all pages that wait.
PAGE, EVERYBODY = 300, 4_000
#: Bytes of large requests that wait or run, together.
MAX_LARGE = 128 * 1024 * 1024
#: Pages whose outcomes are kept until they are read.
PAGES = 1_000
#: Seconds after an event in which the next one is looked for at short intervals.
_AWAKE_S = 1.0
#: Seconds after which a page that has stopped listening is gone.
_AWAY_S = 5.0
#: Pages whose state is kept.
STATES = 400


class Session(SessionState):
    """What the server keeps of a page: its states, and components as they were changed. Gradio also writes out the whole page
    for each (a third of a second, 1.4 MB), for links that open it as it stands; the studio has none."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.blocks_config.fns = blocks.default_config.fns  # no page of the studio adds events
        self.config_values: dict[int, Any] = {}
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600

    def __setitem__(self, key: int, value: Any) -> None:
        block = self.blocks_config.blocks.get(key)
        if isinstance(block, gr.State):
            self._state_ttl[key] = (block.time_to_live, datetime.now())
            self.state_data[key] = value
        else:
            self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class Sessions(StateHolder):
    """The :class:`Session` of each page; those used longest ago are forgotten."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)


class Outcomes(LRUCache[str, Any]):
    """What each page has not read yet. Gradio forgets it where a page breaks its stream off, which a page may do as the stream ends and then
    ask for the next one."""

    def __delitem__(self, session: str) -> None:
        """Leave it for the next stream."""

    def forget(self, session: str) -> None:
        """Forget a page."""
        super().__delitem__(session)

    def popitem(self, last: bool = True) -> tuple[str, Any]:
        """Forget the newest page, or the oldest, which makes room in the parent."""
        session = next(reversed(self) if last else iter(self))
        outcomes = self[session]
        self.forget(session)
        return session, outcomes


class FairQueue(Queue):
    """Gradio's queue with the bounds of this module."""

    def __init__(self, gate: Gate, **options: Any) -> None:
        self._came = 0.0
        super().__init__(**options)
        self._gate = gate
        self._listening: Counter[str] = Counter()
        self._drawn: dict[int, frozenset[int]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._outcomes = self.pending_messages_per_session = Outcomes(self.pending_messages_per_session.max_size)
        self.ANALYTICS_MAX_EVENTS = 100
        # Gradio's 10 ms wake an idle server a hundred times a second; this is its value on Windows
        self.progress_update_sleep_when_free = 0.1

    @property
    def sleep_when_free(self) -> float:
        """Seconds between two looks whether there is an event. Gradio's one millisecond costs an idle server 8 % of a core; it is kept
        while events come."""
        return 0.001 if time.monotonic() - self._came < _AWAKE_S else 0.05

    @sleep_when_free.setter
    def sleep_when_free(self, seconds: float) -> None:
        """Gradio's own value, which is not taken."""

    def set_server_app(self, app: Any) -> None:
        """As Gradio's, once the app serves; its sessions become ours."""
        super().set_server_app(app)
        app.state_holder = Sessions()
        app.state_holder.set_blocks(self.blocks)

    def compute_analytics_summary(self, records: Any) -> Any:
        """Nobody reads it, and it costs more than most events."""
        return self.cached_event_analytics_summary

    def broadcast_estimations(self, concurrency_id: str, after: int | None = None) -> None:
        """Who waits for heavy work is told its place; telling it for every event takes longer than the events."""
        if concurrency_id in LINES:
            super().broadcast_estimations(concurrency_id, after)

    @contextlib.contextmanager
    def listening(self, session: str) -> Iterator[None]:
        """While a page listens for the outcomes of its events."""
        self._listening[session] += 1
        try:
            yield
        finally:
            self._listening[session] -= 1
            if not self._listening[session]:
                del self._listening[session]

    async def process_events(self, events: list[Event], *options: Any, **named: Any) -> None:
        """As Gradio's, in the language of the page that asks."""
        with speaking(language_of(events[0].request)):
            await super().process_events(events, *options, **named)

    def send_message(self, event: Event, event_message: Any) -> None:
        """As Gradio's: what is said while an event runs, in the page's language."""
        if isinstance(event_message, LogMessage):
            event_message = event_message.model_copy(update={"log": said(event_message.log)})
        elif isinstance(event_message, ProgressMessage):
            units = [
                unit.model_copy(update={"desc": said(unit.desc or "")}) for unit in event_message.progress_data or ()
            ]
            event_message = event_message.model_copy(update={"progress_data": units})
        super().send_message(event, event_message)

    async def clean_events(self, *, session_hash: str | None = None, event_id: str | None = None) -> None:
        """As Gradio's; what a page asked for is dropped once the page has not listened for :data:`_AWAY_S`."""
        if session_hash is None:
            return await super().clean_events(event_id=event_id)
        task = asyncio.get_running_loop().create_task(self._clean_if_gone(session_hash))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _clean_if_gone(self, session: str) -> None:
        await asyncio.sleep(_AWAY_S)
        if session not in self._listening:
            await super().clean_events(session_hash=session)

    async def push(
        self, body: PredictBodyInternal, request: fastapi.Request, username: str | None
    ) -> tuple[bool, Any, Literal["success", "error", "queue_full", "validator_error"]]:
        """Put an event into its line, or refuse it with a sentence."""
        self._came = time.monotonic()
        fn = self.blocks.fns.get(body.fn_index) if body.fn_index is not None else None
        if fn is not None:
            operator = not self._gate.open and self._gate.knows(secret_of(request))
            if sentence := self._refusal(str(fn.concurrency_id), body.session_hash, request, operator):
                return False, sentence, "error"
            if fn.api_visibility == "public":  # what a program leaves out is null, and the endpoint says what it needs
                body.data = [*body.data, *[None] * (len(fn.inputs) - len(body.data))]
        pushed: tuple[bool, Any, Any] = await super().push(body, request, username)
        if fn is not None and pushed[0]:
            self._settle(self.event_queue_per_concurrency_id[fn.concurrency_id], operator)
        return pushed

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The next event of some line that has room: of heavy work the first whose page has nothing running there, of everything else the
        first whose components no event of its page is drawing. Answered after a later one, that would leave the page with what was true before."""
        drawing = self._drawing()
        names = list(self.event_queue_per_concurrency_id)
        random.shuffle(names)
        for name in names:
            line = self.event_queue_per_concurrency_id[name]
            if line.concurrency_limit is not None and line.current_concurrency >= line.concurrency_limit:
                continue
            event = self._first(name, line, drawing)
            if event is not None:
                line.queue.remove(event)
                return [event], False, name
        return None

    def _first(self, name: str, line: EventQueue, drawing: dict[str, set[int]]) -> Event | None:
        bounds = LINES.get(name)
        if bounds is None:
            return next(
                (event for event in line.queue if self._outputs(event).isdisjoint(drawing.get(event.session_hash, ()))),
                None,
            )
        running = [event for event in self._running() if event.concurrency_id == name]
        pages = {event.session_hash for event in running}
        addresses = Counter(address_of(event.request) for event in running)
        return next(
            (
                event
                for event in line.queue
                if event.session_hash not in pages
                and (_operator(event) or addresses[address_of(event.request)] < bounds.at_once)
            ),
            None,
        )

    def _drawing(self) -> dict[str, set[int]]:
        """The components that events at work draw, by page. Heavy work and answers that come in pieces hold nothing up, nor does what programs
        ask."""
        drawing: dict[str, set[int]] = {}
        for event in self._running():
            fn = event.fn
            if event.concurrency_id not in LINES and not fn.types_generator and fn.api_visibility != "public":
                drawing.setdefault(event.session_hash, set()).update(self._outputs(event))
        return drawing

    def _outputs(self, event: Event) -> frozenset[int]:
        outputs = self._drawn.get(event.fn._id)
        if outputs is None:
            outputs = self._drawn[event.fn._id] = frozenset(block._id for block in event.fn.outputs)
        return outputs

    def _refusal(self, name: str, session: str | None, request: fastapi.Request, operator: bool) -> str:
        """Why an event is not taken; empty where it is."""
        waiting = self.event_queue_per_concurrency_id.get(name, EventQueue(name, None)).queue
        bounds = LINES.get(name)
        address = address_of(request)
        if bounds is not None:
            if session and sum(event.session_hash == session for event in waiting) >= bounds.page:
                return f"This page has {bounds.what} waiting already; wait for them, or stop them."
            if not operator and (
                len(waiting) >= bounds.everybody
                or sum(address_of(event.request) == address for event in waiting) >= bounds.address
            ):
                return f"Too many {bounds.what} are waiting; try again in a while."
        elif session and len(self.pending_event_ids_session.get(session, ())) >= PAGE:
            return "This page has too many requests waiting; reload it."
        elif not operator and len(self) >= EVERYBODY:
            return "The studio is busy; try again in a moment."
        size = request.scope.get(SIZE, 0)
        if size > LARGE and not operator:
            held = [event for line in self.event_queue_per_concurrency_id.values() for event in line.queue]
            large = sum(event.request.scope.get(SIZE, 0) for event in (*held, *self._running()))
            if large + size > MAX_LARGE:
                return "Too many large requests are waiting; try again in a while."
        if session and not self._has_room(session) and not operator:
            return "The studio has as many pages open as it can serve; try again in a while."
        return ""

    def _has_room(self, session: str) -> bool:
        """Whether the outcomes of one more page can be kept; those of the oldest page that nobody reads make room."""
        outcomes = self._outcomes
        if session in outcomes or len(outcomes) < PAGES:
            return True
        busy = {event.session_hash for event in self._running()}
        gone = next((one for one in outcomes if one not in self._listening and one not in busy), None)
        if gone is None:
            return False
        for line in self.event_queue_per_concurrency_id.values():
            line.queue[:] = [event for event in line.queue if event.session_hash != gone]
        for event_id in self.pending_event_ids_session.pop(gone, ()):
            self.event_ids_to_events.pop(event_id, None)
        outcomes.forget(gone)
        return True

    def _settle(self, line: EventQueue, operator: bool) -> None:
        """Move the event that came last to its place in the line."""
        event = line.queue.pop()
        ahead = sum(other.session_hash == event.session_hash for other in line.queue)
        event.rank = (not operator, ahead)  # type: ignore[attr-defined]
        place = len(line.queue)
        while place and line.queue[place - 1].rank > event.rank:  # type: ignore[attr-defined]
            place -= 1
        line.queue.insert(place, event)

    def _running(self) -> list[Event]:
        return [event for job in self.active_jobs if job for event in job]


def open_queue(app: gr.Blocks, gate: Gate) -> None:
    """Give a page its queue, before it is launched. Every event goes through it: no route leads around."""
    app.queue(api_open=False, default_concurrency_limit=8)
    app._queue = FairQueue(
        gate,
        live_updates=True,
        concurrency_count=app.max_threads,
        update_intervals=1,
        max_size=None,
        blocks=app,
        default_concurrency_limit=8,
    )


def _operator(event: Event) -> bool:
    return not event.rank[0]  # type: ignore[attr-defined]
