"""The page itself, made once a language and kept packed: Gradio writes out its 800 kB anew for every visitor, who all get the same.

And Gradio's styles and small scripts as one file each: a page would ask for some eighty, a few for each kind of component it holds.
What it would load stands in a table in Gradio's script ``core-*.js``. Gradio asks for a style sheet unless the page has a link to it,
so the page has one for each, disabled, which a browser does not follow, and one to them all. Small scripts come as texts; an import map
leads the browser to them (``assets.js``). What neither holds, and all of it in a browser without import maps, is loaded as ever.

The map leads to another ``core-*.js``, too. Gradio's finds a component by a walk from the top through all of them, for each component
that an event tells, at each message of any event; and as the page is loaded it goes through all events for each component. With a
thousand components that was two thirds of what loading the page cost a browser, and nearly all of what watching a run did.
``lookups.js`` does both at once. Where another version of Gradio words them otherwise, its script is served as it is.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import re
from collections import OrderedDict
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.i18n import LANGUAGES, language
from studio.ui.page.languages import translated_page
from studio.ui.page.theme import ASSETS

#: Bytes of a sheet and of a script at most: few of the larger ones are needed, and these are worth a request.
_SHEET, _SCRIPT = 20_000, 4_200
#: For what never changes under its name.
FOR_EVER = "public, max-age=31536000, immutable"
#: Pages kept: one for each language and way that a server is reached.
KEPT = 8 * len(LANGUAGES)
#: What of a request stands in the page: the address it was asked for by.
_NAMED = ("host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix")
#: What ``lookups.js`` does instead: a component of the page by its id, a function of any name; the names of a component's events, a method.
FIND = re.compile(
    r"function (?P<find>[\w$]+)\((?P<node>[\w$]+),(?P<id>[\w$]+)\)\{if\((?P=node)\.id===(?P=id)\)return (?P=node);"
    r"if\((?P=node)\.children\)for\(let (?P<child>[\w$]+) of (?P=node)\.children\)"
    r"\{let (?P<found>[\w$]+)=(?P=find)\((?P=child),(?P=id)\);if\((?P=found)\)return (?P=found)\}return null\}"
)
ATTACH = re.compile(
    r"find_attached_events\((?P<node>[\w$]+),(?P<events>[\w$]+)\)\{let (?P<names>[\w$]+)=(?P=events)\.filter\(.{0,200}?\.filter\(Boolean\);"
    r"return (?P=node)\.props\.shared_props\.attached_events=(?P=names),(?P=node)\}"
)


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
            body = with_assets(translated_page(body.decode(), self._scripts)).encode()
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


def _named(suffix: str, most: int) -> dict[str, str]:
    """Files of Gradio's table by name, of at most so many bytes; those that name files of other kinds are left where they are."""
    table = "".join(path.read_text(encoding="utf-8") for path in ASSETS.glob("core-*.js")).partition("]")[0]
    # in its order: what a component adds to what it is made of comes after that
    names = dict.fromkeys(re.findall(r'"\./([\w.-]+\.' + suffix + ')"', table))
    texts = {name: (ASSETS / name).read_text(encoding="utf-8") for name in names}
    return {name: text for name, text in texts.items() if len(text) <= most and "url(" not in text}


@functools.cache
def _sheets() -> tuple[str, list[str]]:
    sheets = _named("css", _SHEET)
    return "\n".join(sheets.values()), list(sheets)


@functools.cache
def _scripts() -> str:
    # Gradio takes the theme from the address and its frames from the window as its scripts are read: the page's head comes too late
    theme, frames, loader = (
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("theme.js", "frames.js", "assets.js")
    )
    name, other, _ = core_script()
    moved = {name: other} if name else {}
    return f"{theme}{frames}{loader.rstrip()}({json.dumps(_named('js', _SCRIPT))}, {json.dumps(moved)});"


def _file(text: str, suffix: str) -> str:
    return f"gathered-{hashlib.sha256(text.encode()).hexdigest()[:12]}.{suffix}"


def with_assets(html: str) -> str:
    """Gradio's page with the links."""
    styles, names = _sheets()
    disabled = "".join(f'<link rel="stylesheet" href="./assets/{name}" disabled>' for name in names)
    script, style = _file(_scripts(), "js"), _file(styles, "css")
    html = html.replace('<script type="module"', f'<script src="./{script}"></script><script type="module"', 1)
    # behind the sheet that all others add to
    return html.replace("</head>", f'<link rel="stylesheet" href="./{style}">{disabled}</head>', 1)


def with_lookups(script: str) -> str:
    """Gradio's ``core-*.js`` with ours; as it is where its own are not to be found."""
    if len(FIND.findall(script)) != 1 or len(ATTACH.findall(script)) != 1:
        return script
    script = FIND.sub(r"function \g<find>(root, id) { return studioFind(root, id); }", script)
    script = ATTACH.sub("find_attached_events(node, events) { return studioAttach(node, events); }", script)
    return Path(__file__).with_name("lookups.js").read_text(encoding="utf-8") + script


@functools.cache
def core_script() -> tuple[str, str, str]:
    """Gradio's name of the script, the name it has here, and its text; all empty where it is served as it is."""
    for path in ASSETS.glob("core-*.js"):
        text = path.read_text(encoding="utf-8")
        if (now := with_lookups(text)) != text:
            return path.name, f"{path.stem}-{hashlib.sha256(now.encode()).hexdigest()[:12]}.js", now
    return "", "", ""


def asset_routes() -> list[BaseRoute]:
    """The routes of these files, for ``launch(app_kwargs={"routes": ...})``."""
    sheet, scripts, (_, core, text) = _sheets()[0], _scripts(), core_script()
    routes: list[BaseRoute] = [
        _route(_file(sheet, "css"), sheet, "css"),
        _route(_file(scripts, "js"), scripts, "javascript"),
    ]
    return [*routes, _route(f"assets/{core}", text, "javascript")] if core else routes


def _route(path: str, text: str, kind: str) -> Route:
    async def answer(request: Request) -> Response:
        return Response(text, media_type=f"text/{kind}", headers={"Cache-Control": FOR_EVER})

    return Route(f"/{path}", answer, methods=["GET"])
