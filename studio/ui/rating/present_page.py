"""The presenter's view of a vote, ``/present``: the code to vote with, what has come in, a countdown, and the result. For the
operator alone.

``GET present``             the page; it is told of new votes by ``/changes``
``POST present/api/look``   {address, typed, room?} -> {open, left, progress, code, room, result, pairs}; ``result`` and ``pairs`` once voting is
                            closed; ``left`` the seconds to the end of the countdown, null without one
``POST present/api/close``  the same, after closing the vote; ``present/api/open`` after opening it again
``POST present/api/count``  the same with {minutes}, after which the vote closes by itself; 0: no more
``POST present/api/keep``   the same with {page}: the result is kept under this address (``results/<id>``)

Errors as in :mod:`studio.ui.rating.json_answers`.
"""

from __future__ import annotations

import functools
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from studio.errors import InputError, NotAllowedError
from studio.i18n import said
from studio.services import Services
from studio.services.rating.rooms import checked_code, room_title
from studio.services.rating.service import RatingService
from studio.services.votes.filters import VoteFilters
from studio.services.votes.kept import keep_votes
from studio.ui.page.access import secret_of
from studio.ui.parts.html import Macros
from studio.ui.parts.plain_page import plain_page
from studio.ui.rating.json_answers import answer_json
from studio.ui.rating.outcome import outcome, written_by
from studio.ui.rating.qr import best_address, checked_address, of_room, only_here, qr_path
from studio.ui.votes.panel import Reader

PAGE = Path(__file__).with_name("present.html")
_REFUSAL = (
    "The presenter view is the operator's; give the operator's password in the studio (top right), then open it again."
)
#: The longest countdown.
MAX_MINUTES = 24 * 60
#: Presenters of one server at once; others wait.
_THREADS = 4


def present_routes(services: Services) -> list[BaseRoute]:
    """The routes, for ``launch(app_kwargs={"routes": ...})``."""
    api, limiter = PresentApi(services), CapacityLimiter(_THREADS)

    async def shown(request: Request) -> Response:
        if not services.gate.knows(secret_of(request)):
            return HTMLResponse(Macros("evaluations/report_page.html").sentence(said(_REFUSAL), "./"), 403)
        return plain_page(PAGE)

    return [
        Route("/present", shown),
        *(
            Route(f"/present/api/{name}", functools.partial(answer_json, action, limiter), methods=["POST"])
            for name, action in (
                ("look", api.look),
                ("close", api.close),
                ("open", api.open),
                ("count", api.count),
                ("keep", api.keep),
            )
        ),
    ]


class PresentApi:
    """What the routes do, in a thread: a request's JSON in, the answer's JSON out."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reader = Reader(lambda room: services.rooms.rating(room))

    def look(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """How the vote stands."""
        self._check(request)
        return self._standing(body, request)

    def close(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """Close the vote."""
        return self._set(False, body, request)

    def open(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """Open the vote again."""
        return self._set(True, body, request)

    def keep(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """Keep the result."""
        self._check(request)
        return {**self._standing(body, request), "page": f"results/{keep_votes(self._vote(body))}"}

    def count(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """Have the vote close by itself after some minutes, or no more."""
        minutes = body.get("minutes")
        if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 <= minutes <= MAX_MINUTES:
            raise InputError(f"minutes is {str(minutes)[:20]}; it must be a number from 0 to {MAX_MINUTES}.")
        return self._set(True, body, request, time.time() + 60 * minutes if minutes else 0.0)

    def _set(self, opened: bool, body: dict[str, Any], request: Request, closes: float = 0.0) -> dict[str, Any]:
        self._check(request)
        self._vote(body).set_open(opened, closes)
        return self._standing(body, request)

    def _vote(self, body: dict[str, Any]) -> RatingService:
        return self._services.rooms.rating(self._room(body))

    @staticmethod
    def _room(body: dict[str, Any]) -> str:
        room = body.get("room", "")
        if not isinstance(room, str):
            raise InputError("room must be text.")
        return checked_code(room)

    def _check(self, request: Request) -> None:
        if not self._services.gate.knows(secret_of(request)):
            raise NotAllowedError(_REFUSAL)

    def _standing(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        room = self._services.rooms.find(self._room(body))
        moment = self._reader.moment(room.code)
        seen = None if moment.open or not moment.progress.votes else self._reader.read(room.code, VoteFilters())
        return {
            "open": moment.open,
            "left": max(0.0, moment.closes - time.time()) if moment.open and moment.closes else None,
            "room": room_title(room) if room.code else "",
            "progress": asdict(moment.progress),
            "code": self._code(room.code, body, request),
            "result": outcome(seen.result) if seen else None,
            "pairs": written_by(seen.result) if seen else [],
        }

    def _code(self, room: str, body: dict[str, Any], request: Request) -> dict[str, Any]:
        address = body.get("address")
        if not isinstance(address, str):
            raise InputError("address must be text.")
        if not body.get("typed"):
            share = getattr(getattr(request.app, "blocks", None), "share_url", None)
            address = best_address(address, share, self._services.settings.host)
        address = of_room(checked_address(address), room)
        size, dots = qr_path(address)
        return {"address": address, "size": size, "dots": dots, "only_here": only_here(address)}
