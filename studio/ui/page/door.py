"""What every request passes first: which hosts it may name, which sites it may come from, how large it may be; and what every
answer forbids the browser.

A site somewhere can have a browser ask this server, by a name of its own that it points at 127.0.0.1 (DNS rebinding) or by a
form. So only names this server is known to go by are answered, and what changes anything is taken from its own pages only.
Programs that send no ``Origin`` are not browsers and pass.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.config import Settings
from studio.i18n import said, speaking
from studio.ui.page.first_page import FOR_EVER, FirstPage
from studio.ui.page.languages import language_of

#: Bytes of a request that is no upload: five million characters of text, in any script, fit.
MAX_BODY = 16 * 1024 * 1024
#: What makes objects of JSON: brackets and commas. 16 MB of ``[],`` would be 350 MB of lists.
MAX_PARTS = 1_000_000
#: Requests above ``LARGE`` bytes that are read or parsed at once, in bytes together; and seconds one may take to arrive.
LARGE, MAX_IN_WORK, ARRIVES_S = 1024 * 1024, 64 * 1024 * 1024, 60.0
#: Beside the file itself: the other parts of a form.
_FORM = 1024 * 1024
#: Where the request's size stands, for the queue.
SIZE = "studio.size"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ANY = ("", "0.0.0.0", "::")
_SAFE = ("GET", "HEAD", "OPTIONS")

#: Gradio's page builds its scripts and styles as it runs; nothing of any other site is loaded, asked or framed.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
)
#: A file that somebody brought runs nothing, whatever is in it.
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


class Door:
    """ASGI middleware, for ``launch(app_kwargs={"middleware": ...})``."""

    def __init__(self, app: ASGIApp, settings: Settings, scripts: str) -> None:
        self._app = app
        self._first_page = FirstPage(app, scripts)
        self._max_upload = settings.max_upload_mb * 1_000_000 + _FORM
        self._names, self._other_names = known_names(settings), listed(settings.allowed_hosts)
        self._any_address = settings.host in _ANY
        self._in_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":  # nothing here speaks it
            return await send({"type": "websocket.close", "code": 1008})
        with speaking(language_of(Request(scope))):
            await self._enter(scope, receive, send)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        if sentence := self._refusal(scope):
            return await _refuse(scope, send, 403, sentence)
        answer = _forbidding(scope, send)
        if scope["method"] in _SAFE:
            return await self._listening(scope, receive, answer)
        if Headers(scope=scope).get("content-type", "").startswith("multipart/"):
            return await self._upload(scope, receive, answer)
        return await self._whole(scope, receive, answer)

    # -- who asks -----------------------------------------------------------------------------------------------------

    def _refusal(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host = headers.get("host")
        if host is not None and not self._known(name_of(host)):
            return f"This studio does not go by the name {name_of(host)[:100]!r}; the operator may add it to STUDIO_ALLOWED_HOSTS."
        if scope["method"] in _SAFE:
            return ""
        origin = headers.get("origin")
        foreign = headers.get("sec-fetch-site") == "cross-site"
        if origin is not None:
            foreign = urlsplit(origin).netloc != (host or "") and not _matches(
                name_of_origin(origin), self._other_names
            )
        if foreign:
            return "This request comes from another site's page; only the studio's own page may send it (STUDIO_ALLOWED_HOSTS)."
        return ""

    def _known(self, name: str) -> bool:
        return _matches(name, self._names) or (self._any_address and _is_address(name))

    # -- how much -----------------------------------------------------------------------------------------------------

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on once all of it is here and its size is known."""
        held = 0
        try:
            body, parts = bytearray(), 0
            async with asyncio.timeout(ARRIVES_S):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    chunk: bytes = message.get("body", b"")
                    more = message.get("more_body", False)
                    body += chunk
                    parts += chunk.count(b",") + chunk.count(b"[") + chunk.count(b"{")
                    if len(body) > MAX_BODY:
                        return await _refuse(scope, send, 413, f"This request is larger than {MAX_BODY // 1024**2} MB.")
                    if parts > MAX_PARTS:
                        return await _refuse(
                            scope,
                            send,
                            413,
                            f"This request has more than {MAX_PARTS:,} commas and brackets; send it in parts.",
                        )
                    if len(body) > LARGE:
                        self._in_work += len(body) - held
                        held = len(body)
                        if self._in_work > MAX_IN_WORK:
                            return await _refuse(
                                scope, send, 429, "Too many large requests are being read; try again in a moment."
                            )
            await self._app({**scope, SIZE: len(body)}, _replayed(bytes(body), receive), send)
        except TimeoutError:
            await _refuse(scope, send, 408, f"This request did not arrive within {ARRIVES_S:.0f} s.")
        finally:
            self._in_work -= held

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a form on as it comes in, as far as its size is allowed."""
        size, begun = 0, False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_upload:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except _TooLarge:
            if begun:
                raise
            sentence = f"This upload is larger than {self._max_upload // 1_000_000} MB (STUDIO_MAX_UPLOAD_MB)."
            await _refuse(scope, send, 413, sentence)

    async def _listening(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on; the queue is told while it is a page that listens for answers."""
        queue = getattr(getattr(scope.get("app"), "blocks", None), "_queue", None)
        if scope["method"] == "GET" and scope["path"] == "/" and b"deep_link" not in scope["query_string"]:
            return await self._first_page(scope, receive, send)
        listening, path = getattr(queue, "listening", None), scope["path"]
        if listening is None or not (path.endswith("/queue/data") or "/call/" in path):
            return await self._app(scope, receive, send)
        # a call of a program is a page of its own, by the id of its one event
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [path.rpartition("/")[2]])[0]
        with listening(session):
            await self._app(scope, receive, send)


def known_names(settings: Settings) -> tuple[str, ...]:
    """The names this server answers to: loopback, the bound host, what the settings list; where it is bound to every address
    also the machine's own name (and, in the middleware, every address in digits, which no other site can own)."""
    names = [*_LOOPBACK, settings.host.strip("[]").lower(), *listed(settings.allowed_hosts)]
    if settings.host in _ANY:
        own = socket.gethostname().lower()
        names += [own, f"{own.partition('.')[0]}.local"]
    if settings.share:
        names += ["*.gradio.live"]
    if space := os.environ.get("SPACE_HOST"):  # set by Hugging Face on a Space
        names += [space.lower()]
    return tuple(name for name in names if name not in _ANY)


def listed(names: str) -> tuple[str, ...]:
    """The names of a comma-separated setting, in small letters."""
    return tuple(name.strip().lower() for name in names.split(",") if name.strip())


def name_of(host: str) -> str:
    """A ``Host`` header without its port, in small letters."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def name_of_origin(origin: str) -> str:
    """The host of an ``Origin`` header; empty for ``null`` and the like."""
    return name_of(urlsplit(origin).netloc)


class _TooLarge(Exception):
    """An upload that is larger than allowed, while it is being read."""


def _matches(name: str, names: tuple[str, ...]) -> bool:
    return any(
        name == known or known == "*" or (known.startswith("*.") and name.endswith(known[1:]))
        for known in names
        if name
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A request's body that was read already, and then what else comes (that the client is gone)."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again


async def _refuse(scope: Scope, send: Send, status: int, sentence: str) -> None:
    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    sentence = said(sentence)
    # "detail" is what Gradio's page and its clients show
    await JSONResponse({"detail": sentence, "error": sentence}, status)(scope, nothing, send)


def _forbidding(scope: Scope, send: Send) -> Send:
    """``send`` with the headers that every answer has; a page's own policy stays."""
    policy = FILE_POLICY if "/file=" in scope["path"] else PAGE_POLICY
    # the names of Gradio's scripts and styles hold what is in them
    hashed = scope["path"].rpartition("/")[0].endswith("/assets")

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if hashed and message["status"] == 200:
                headers.setdefault("Cache-Control", FOR_EVER)
            for name, value in (
                ("Content-Security-Policy", policy),
                ("X-Content-Type-Options", "nosniff"),
                ("Referrer-Policy", "same-origin"),
            ):
                headers.setdefault(name, value)
        await send(message)

    return sending
