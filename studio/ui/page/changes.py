"""What is new on the server, told to open pages as it happens: while nothing happens, a page asks for nothing.

``GET /changes`` is a stream of server-sent events, one for each page; a message is the name of what changed. The page's script
(``changes.js``) then presses the hidden buttons of that name that can be seen, whose events :func:`when_changed` binds.

A page that is still being drawn, or whose stream broke off, may miss what it is sent. So what is drawn says in the page what it shows
(:func:`marked`), a look for news tells the server (:func:`seen_in`), and what was missed is sent again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from studio.errors import StudioError
from studio.services import Services
from studio.services.runs.changes import runs_stamp
from studio.ui.page.shared import POLLED

log = logging.getLogger(__name__)

#: Seconds between two looks at everything, for all pages together; between two looks whether the server ends; and between two
#: signs of life to a page, which keep proxies from ending the stream.
LOOK_S, _STEP_S, _ALIVE_S = 1.0, 0.1, 20.0
#: Runs in the page, see :func:`seen_in`.
_SEEN = """(...given) => {
    const place = document.getElementById(%s);
    return [...given.slice(0, -1), place ? place.querySelector("[data-seen]")?.dataset.seen ?? "" : null];
}"""
#: What a page can be told of.
RUNS, VOTES, BATCH, EVALUATIONS = "runs", "votes", "batch", "evaluations"


class Changes:
    """Counts the changes of each source; one for all pages of a server. A source's value stays equal while nothing changes."""

    def __init__(self, sources: Mapping[str, Callable[[], Hashable]]) -> None:
        self._sources = sources
        self._values: dict[str, Hashable] = {}
        self._counts: dict[str, int] = dict.fromkeys(sources, 0)
        self._looked = float("-inf")
        self._looking = False  # a database that is away keeps one thread waiting, not one a second

    async def counts(self) -> dict[str, int]:
        """Changes so far, by source; looked up where the last look is :data:`LOOK_S` old."""
        if not self._looking and time.monotonic() - self._looked >= LOOK_S:
            self._looking = True
            try:
                await asyncio.to_thread(self._look)
            finally:
                self._looking, self._looked = False, time.monotonic()
        return dict(self._counts)

    def _look(self) -> None:
        for name, source in self._sources.items():
            try:
                value = source()
            except (StudioError, OSError) as error:  # the page says so where it is asked for
                log.debug("%s cannot be looked up: %s", name, error)
                continue
            if name in self._values and self._values[name] != value:
                self._counts[name] += 1
            self._values[name] = value


def changes_of(services: Services) -> Changes:
    """What pages are told of."""
    return Changes(
        {
            RUNS: lambda: runs_stamp(services.settings.adapters_dir),
            VOTES: services.rooms.stamp,
            BATCH: services.sources.batch_status,
            EVALUATIONS: lambda: tuple((one.id, one.updated) for one in services.evaluations.list()),
        }
    )


def changes_routes(services: Services) -> list[BaseRoute]:
    """The route, for ``launch(app_kwargs={"routes": ...})``."""
    changes = changes_of(services)

    async def stream(request: Request) -> Response:
        return StreamingResponse(
            _messages(request, changes),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return [Route("/changes", stream, methods=["GET"])]


async def _messages(request: Request, changes: Changes) -> AsyncIterator[str]:
    blocks = request.app.blocks
    seen, spoke = await changes.counts(), time.monotonic()
    yield ":\n\n"
    while blocks.is_running and not await request.is_disconnected():
        counts = await changes.counts()
        news = [name for name, count in counts.items() if count != seen[name]]
        seen = counts
        if news or time.monotonic() - spoke > _ALIVE_S:
            spoke = time.monotonic()
            yield "".join(f"data: {name}\n\n" for name in news) or ":\n\n"
        await asyncio.sleep(_STEP_S)


def when_changed(name: str, handler: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> None:
    """Run ``handler`` whenever ``name`` changed, while the place this is called in can be seen; where it cannot, once it can."""
    button = gr.Button("Look again", elem_classes=["changed", f"changed-{name}"])
    button.click(handler, inputs, outputs, **{"trigger_mode": "always_last", **POLLED, **options})


def marked(html: str, token: str) -> Markup:
    """``html`` (safe already) that says in the page what it shows: ``token``."""
    return Markup('<div data-seen="{}">{}</div>').format(token, Markup(html))


def seen_in(elem_id: str) -> dict[str, Any]:
    """For an event: its last input, a ``gr.Textbox`` that is not shown, becomes the token of what stands in this component; empty where
    nothing marked does, None where the component is not there yet."""
    return {"js": _SEEN % json.dumps(elem_id)}
