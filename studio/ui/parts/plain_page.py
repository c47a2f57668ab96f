"""A page of its own beside Gradio's: one HTML answer with its style and script inside."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from starlette.responses import Response

from studio.i18n import LANGUAGES, language, words_of
from studio.services.pages.html import FOLDER
from studio.services.template_words import Words
from studio.ui.page.languages import script_json

#: Where such a page may stand in a frame: in the studio's own, also inside a Hugging Face Space.
_FRAMES = "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
#: Where the sentences that the script says go.
_WORDS = "{} /* words */"
#: A place in the HTML where a file goes: its name, as a comment.
_PLACE = re.compile(r"/\* (\w+\.(?:css|js)) \*/")


_ENVIRONMENT = Environment(autoescape=True, undefined=StrictUndefined, extensions=[Words])


def text_and_headers(html: Path) -> tuple[str, dict[str, str]]:
    """A page in the language of now, and its headers. Its style and its script, one element each, are files beside ``html``, beside
    this module or beside the static pages. The policy names both by their hashes, so that no text of a prompt or an answer can ever run or load anything."""
    return _made(html, language())


@functools.cache
def _made(html: Path, code: str) -> tuple[str, dict[str, str]]:
    def content(place: re.Match[str]) -> str:
        folders = (html.parent, Path(__file__).parent, FOLDER / "pages")
        return next(path for folder in folders if (path := folder / place[1]).is_file()).read_text(encoding="utf-8")

    page = _ENVIRONMENT.from_string(html.read_text(encoding="utf-8")).render(language=code, languages=LANGUAGES)
    text = _PLACE.sub(content, page)
    text = text.replace(_WORDS, script_json(words_of(text)), 1)
    style, script = (re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("style", "script"))
    assert style is not None
    assert script is not None
    policy = (
        f"default-src 'none'; style-src '{_hash(style[1])}'; script-src '{_hash(script[1])}'; connect-src 'self'; "
        f"img-src data:; base-uri 'none'; form-action 'none'; {_FRAMES}"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
        "Vary": "Cookie, Accept-Language",
    }
    return text, headers


def plain_page(html: Path) -> Response:
    """The page that ``html`` describes, as an answer: :func:`text_and_headers`."""
    text, headers = text_and_headers(html)
    return Response(text, media_type="text/html", headers=headers)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
