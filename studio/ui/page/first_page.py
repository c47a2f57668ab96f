"""The page itself, made once a language and kept packed: Gradio writes out its 800 kB anew for every visitor, who all get the same."""

from __future__ import annotations

import gzip
from collections import OrderedDict

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.i18n import LANGUAGES, language
from studio.ui.page.languages import translated_page

#: Pages kept: one for each language and way that a server is reached.
KEPT = 8 * len(LANGUAGES)
#: What of a request stands in the page: the address it was asked for by.
_NAMED = ("host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix")


class FirstPage:
    """ASGI application in front of Gradio's, for ``GET /``. ``scripts`` are those whose words the page holds."""

    def __init__(self, app: ASGIApp, scripts: str) -> None:
        self._app, self._scripts = app, scripts
        self._kept: OrderedDict[tuple[str, ...], tuple[bytes, bytes]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        key = (
            language(),
            scope["scheme"],
            scope.get("root_path", ""),
            *(headers.get(name, "")[:200] for name in _NAMED),
        )
        if key not in self._kept:
            started, body = await _answer(self._app, scope, receive)
            if started["status"] != 200:
                await send(started)
                return await send({"type": "http.response.body", "body": body})
            body = translated_page(body.decode(), self._scripts).encode()
            self._kept[key] = (body, gzip.compress(body, 6))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        plain, packed = self._kept[key]
        vary = {"Vary": "Accept-Encoding, Accept-Language, Cookie"}
        answer = Response(plain, media_type="text/html", headers=vary)
        if "gzip" in headers.get("accept-encoding", ""):
            answer = Response(packed, media_type="text/html", headers={**vary, "Content-Encoding": "gzip"})
        await answer(scope, receive, send)


async def _answer(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """The start of an answer and its whole body, unpacked."""
    parts: list[Message] = []

    async def collect(message: Message) -> None:
        parts.append(message)

    inner = {**scope, "headers": list(scope["headers"])}
    del MutableHeaders(scope=inner)["accept-encoding"]
    await app(inner, receive, collect)
    return parts[0], b"".join(part.get("body", b"") for part in parts[1:])
