"""The voting page ``/rate`` and its JSON API: plain routes, no Gradio events, so that a hall full of phones can vote at once.

``GET rate``               the page: one HTML answer with its style and script inside, no further request but the API's
``POST rate/api/hello``    {} -> rules, the room's name, and who the visitor is on Hugging Face where they signed in
``POST rate/api/register`` {name} -> {token, name} and what ``next`` says; the browser keeps the token, no cookie is set
``POST rate/api/next``     {token} -> {pair, progress, open, left, rules}; the same pair again until it is voted on
``POST rate/api/vote``     {token, pair, proof, press, seconds, reasons?} -> {saved, reveal, pair, progress, open}: "saved" after
                           COMMIT, and the next pair in the same answer
``POST rate/api/undo``     {token} -> {undone, pair, progress, open, reasons?}
``POST rate/api/thumb``    {token, pair, answer, liked} -> {saved}: a thumb on one answer, "1" or "2", of a pair; null takes it back

Every body may name a ``room`` by its code, as the page's address does (``rate?room=ABCD``); without, it is the first one.
Where voting is closed, ``result`` says how it ended, with the answers of the pairs that were voted on. Errors as in :mod:`studio.ui.rating.json_answers`.
"""

from __future__ import annotations

import functools
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import anyio
from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from studio.domain.votes import Press, RatingRules, Served
from studio.errors import InputError
from studio.i18n import said
from studio.services import Services
from studio.services.rating.service import RatingService, Turn
from studio.services.votes.filters import VoteFilters
from studio.ui.page.access import address_of
from studio.ui.parts.plain_page import plain_page
from studio.ui.rating.hub_login import account_of, login_offered
from studio.ui.rating.json_answers import answer_json
from studio.ui.rating.outcome import MAX_TO_RATE, outcome, written_by
from studio.ui.votes.panel import Reader

PAGE = Path(__file__).with_name("voting.html")
#: Threads for votes, apart from those of the studio's own events: a hall of raters and a chat never wait for each other. Fewer than
#: the store has connections, so that no vote waits for one.
THREADS = 12
#: Raters that one address may register at once, and how many a second after that: a full hall behind one address is served, a
#: script slowed.
_BURST, _A_SECOND, _ADDRESSES = 1000, 5.0, 10_000


def rate_routes(services: Services) -> list[BaseRoute]:
    """The routes, for ``launch(app_kwargs={"routes": ...})``: they are there before the port is bound, and come before
    Gradio's own, which would take any path."""
    api = RateApi(services)
    limiter, pace = CapacityLimiter(THREADS), Registrations()

    async def register(request: Request) -> Response:
        await anyio.sleep(pace.delay(address_of(request)))
        return await answer_json(api.register, limiter, request)

    actions = {"hello": api.hello, "next": api.next, "vote": api.vote, "undo": api.undo, "thumb": api.thumb}
    return [
        Route("/rate", lambda request: plain_page(PAGE)),
        # relative addresses in the page count from its folder
        Route("/rate/", lambda request: RedirectResponse("../rate", 308)),
        Route("/rate/api/register", register, methods=["POST"]),
        *(
            Route(f"/rate/api/{name}", functools.partial(answer_json, action, limiter), methods=["POST"])
            for name, action in actions.items()
        ),
    ]


class Registrations:
    """How long each registration of an address waits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # address -> when the last of its registrations so far would be through at an even pace
        self._through: OrderedDict[str, float] = OrderedDict()

    def delay(self, address: str) -> float:
        """Seconds that one more registration waits, which is counted."""
        now = self._clock()
        through = max(now, self._through.pop(address, 0.0)) + 1 / _A_SECOND
        self._through[address] = through
        if len(self._through) > _ADDRESSES:
            self._through.popitem(last=False)
        return max(0.0, through - now - _BURST / _A_SECOND)


class RateApi:
    """What the routes do, in a thread: a request's JSON in, the answer's JSON out."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reader = Reader(lambda room: services.rooms.rating(room))

    def _vote(self, body: dict[str, Any]) -> RatingService:
        """The vote of the room that a request names."""
        return self._services.rooms.rating(_text(body, "room") if "room" in body else "")

    def hello(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """What a browser without a rater shows first."""
        account = account_of(request)
        rating = self._vote(body)
        return {
            "rules": _shown(rating.rules()),
            "room": self._services.rooms.find(rating.room).name if rating.room else "",
            "account": account.name if account else "",
            "login": login_offered(),
        }

    def register(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """A rater of this name; whoever is signed in to Hugging Face is that account, whatever was typed."""
        account = account_of(request)
        name, verified = (account.name, account.id) if account else (_text(body, "name"), "")
        rating = self._vote(body)
        rater, token, turn = rating.join(name, verified)
        return {"token": token, "name": rater.name, **self._standing(rating, turn), "rules": _shown(turn.rules)}

    def next(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """The pair this rater has before them."""
        rating = self._vote(body)
        turn = rating.turn(rating.signed(_text(body, "token")))
        return {**self._standing(rating, turn), "rules": _shown(turn.rules)}

    def vote(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """Store a vote, then the next pair."""
        rating = self._vote(body)
        rater = rating.signed(_text(body, "token"))
        press = _text(body, "press")
        if press not in get_args(Press):
            raise InputError(f"press is {press[:40]!r}; it must be one of {', '.join(get_args(Press))}.")
        seconds, reasons = _seconds(body), _reasons(body)
        pair, proof = _text(body, "pair"), _text(body, "proof")
        saved = rating.vote(rater, pair, proof, press, seconds, reasons)  # type: ignore[arg-type]
        return {
            "saved": True,
            "reveal": asdict(saved.reveal) if saved.reveal else None,
            **self._standing(rating, saved.turn),
        }

    def undo(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """Take the newest vote back; that pair again."""
        rating = self._vote(body)
        rater = rating.signed(_text(body, "token"))
        pair = rating.undo(rater)
        standing = self._standing(rating, rating.turn(rater))
        if pair is None:
            return {"undone": False, **standing}
        return {"undone": True, **standing, "pair": _pair(pair), "reasons": pair.reasons}

    def thumb(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """A thumb on an answer of a pair."""
        rater = self._vote(body).rater(_text(body, "token"))
        answer, liked = _text(body, "answer"), body.get("liked")
        if answer not in ("1", "2"):
            raise InputError(f"answer is {answer[:40]!r}; it must be 1 or 2.")
        if liked is not None and not isinstance(liked, bool):
            raise InputError("liked must be true, false or null.")
        self._services.thumbs.rate_in_pair(rater, _text(body, "pair"), answer, liked)  # type: ignore[arg-type]
        return {"saved": True}

    def _standing(self, rating: RatingService, turn: Turn) -> dict[str, Any]:
        return {
            "pair": _pair(turn.served) if turn.served else None,
            "progress": asdict(turn.progress),
            "open": turn.rules.open,
            "left": seconds_left(turn.rules),
            "result": None if turn.rules.open else self._result(rating.room),
        }

    def _result(self, room: str) -> dict[str, Any]:
        """How the room voted, as every rater may read it once voting is closed."""
        seen = self._reader.read(room, VoteFilters())
        return {**outcome(seen.result), "pairs": written_by(seen.result)[:MAX_TO_RATE]}


def _shown(rules: RatingRules) -> dict[str, Any]:
    """The rules as the page needs them."""
    return {
        "guidelines_html": rendered(said(rules.guidelines)),
        "open": rules.open,
        "reveal": rules.reveal,
        "min_votes": rules.min_votes,
        "ties": rules.ties,
        "reasons": rules.reasons,
    }


def seconds_left(rules: RatingRules) -> float | None:
    """How long the vote is open still, where a moment is set at which it closes."""
    return max(0.0, rules.closes - time.time()) if rules.open and rules.closes else None


@functools.lru_cache(maxsize=8)
def rendered(markdown: str) -> str:
    """The guidelines as HTML. Tags in the text stay text, links open elsewhere, pictures are left out: the page asks nobody
    but this server."""
    from markdown_it import MarkdownIt

    def link_open(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        tokens[index].attrSet("target", "_blank")
        tokens[index].attrSet("rel", "noopener noreferrer")
        return self.renderToken(tokens, index, options, env)

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    parser.add_render_rule("link_open", link_open)
    return str(parser.render(markdown))


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise InputError(f"{key} must be text.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{key} holds half a character; send whole ones.") from None
    return value


def _seconds(body: dict[str, Any]) -> float:
    value = body.get("seconds")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("seconds must be a number.")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds) or seconds < 0:
        raise InputError("seconds must be a number of at least 0.")
    return seconds


def _reasons(body: dict[str, Any]) -> list[Any]:
    value = body.get("reasons", [])
    if not isinstance(value, list):
        raise InputError("reasons must be a list.")
    return value


def _pair(served: Served) -> dict[str, Any]:
    """What the page shows: nothing that tells who answered, and not whether everybody rates this pair."""
    return {
        "pair_id": served.pair_id,
        "token": served.token,
        "prompt": served.prompt,
        "history": [{"role": message.role, "content": message.content} for message in served.history],
        "left": served.left,
        "right": served.right,
        "choice": served.choice,
    }
