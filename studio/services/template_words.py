"""Has every text of an HTML template be said in the page's language, without a mark in the template.

A text between two tags is one message, and so is what ``title``, ``aria-label``, ``placeholder`` and ``alt`` say; expressions in it are its
fields, and simple tags (``<b>``, ``<code>``) belong to it. ``{% … %}`` ends a message. What an expression makes of texts of its own says
``_("…")`` there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from jinja2 import Environment, pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context
from markupsafe import Markup

from studio.i18n import _, language, n_, said

_TOKEN = re.compile(
    r"(?P<skip>\{#.*?#\}|<!--.*?-->|<(?P<raw>style|script|pre)\b.*?</(?P=raw)>)"
    r"|(?P<inline><(?P<tag>b|i|em|strong|code|kbd)>(?:[^<{]|\{\{.*?\}\})*</(?P=tag)>)"
    r"|(?P<block>\{%.*?%\})"
    r"|(?P<expression>\{\{.*?\}\})"
    r"|(?P<element><(?:[^<>{]|\{\{.*?\}\}|\{%.*?%\})*>)"
    r"|(?P<text>[^<{]+|[<{])",
    re.DOTALL,
)
_EXPRESSION = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_ATTRIBUTE = re.compile(r'(?<= )(title|aria-label|placeholder|alt)="((?:[^"{]|\{\{.*?\}\})*)"', re.DOTALL)
#: In an expression: a text chosen by a condition, and any text; what a text's ``%s`` and the like leave open.
_CHOSEN = re.compile(
    r'"([^"%\\]*[A-Za-z]{2}[^"%\\]*)"(?=\s+(?:if|else)\b)|(?<=else )"([^"%\\]*[A-Za-z]{2}[^"%\\]*)"|(?<= or )"([^"%\\]*[A-Za-z]{2}[^"%\\]*)"'
)
_TEXT = re.compile(r'"([^"\\]*)"')
_OPEN = re.compile(r"%[-+,.\d]*[sdfg]")
_TAGS = re.compile(r"</?\w+>|&\w+;")
_NAME = re.compile(r"[A-Za-z_]\w*")
_NO_NAMES = ("_", "if", "else", "or", "not", "and", "is", "none")
#: Texts are messages where they hold a word.
_WORD = re.compile(r"[A-Za-z]{2}")


def words(message: str, /, **fields: Any) -> Markup:
    """A message of a template, HTML as it stands there, in the language of now; fields are escaped where they are no HTML."""
    return Markup(_(message)).format(**fields) if fields else Markup(_(message).replace("{{", "{").replace("}}", "}"))


class Words(Extension):
    """Has the texts of an environment's templates be said, and gives them ``said``, ``_`` and ``language()``."""

    #: After what lays a template's lines together.
    priority = 110

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["said"] = in_language
        environment.globals |= {"_": _, "n_": n_, "language": language, "_words": words}

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return marked(source)


@pass_context  # else Jinja says a text of the template once for all, as the template is read
def in_language(context: Context, text: object) -> str:
    """A text of the program in the page's language; HTML is made of such texts already."""
    return text if isinstance(text, Markup) else said(text if isinstance(text, str) else str(text))


def marked(source: str) -> str:
    """A template whose texts are said by :func:`words`."""
    return _walked(source, lambda message, call: call)


def messages(source: str) -> list[str]:
    """The messages of a template."""
    texts: list[str] = []

    def note(message: str, call: str) -> str:
        texts.append(message)
        return call

    _walked(source, note)
    for expression in _EXPRESSION.findall(source):
        for text in _TEXT.findall(expression):
            message = _opened(text)
            if _WORD.search(message) and (" " in message or message[0].isupper()) and not re.search(r"[=<>/]", message):
                texts.append(message)
    return texts


def _opened(text: str) -> str:
    """A ``%`` format as a message: what it leaves open are the fields x1, x2, …"""
    fixed = _OPEN.split(text)
    fields = [f"{{x{number}}}" for number in range(1, len(fixed))]
    return "".join(a + b for a, b in zip(fixed, [*fields, ""], strict=True)).replace("%%", "%").strip()


def _walked(source: str, put: Callable[[str, str], str]) -> str:
    parts: list[str] = []
    group = ""
    for kind, text in _tokens(source):
        if kind in ("text", "expression", "inline"):
            group += _EXPRESSION.sub(lambda match: _chosen(match[0], put), text)
            continue
        parts += [_said(group, put), text if kind != "element" else _attributes(text, put)]
        group = ""
    return "".join([*parts, _said(group, put)])


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    for token in _TOKEN.finditer(source):
        kind = next(
            name for name in ("skip", "inline", "block", "expression", "element", "text") if token[name] is not None
        )
        yield kind, token[0]


def _attributes(element: str, put: Callable[[str, str], str]) -> str:
    return _ATTRIBUTE.sub(lambda match: f'{match[1]}="{_said(_chosen(match[2], put), put)}"', element)


def _chosen(expression: str, put: Callable[[str, str], str]) -> str:
    """An expression whose choice of texts is said in the page's language."""

    def say(match: re.Match[str]) -> str:
        text = match[1] or match[2] or match[3]
        return put(text.strip(), f"_({json.dumps(text, ensure_ascii=False)})")

    return _CHOSEN.sub(say, expression)


def _said(text: str, put: Callable[[str, str], str]) -> str:
    inner = text.strip()
    if not _WORD.search(_TAGS.sub("", _EXPRESSION.sub("", inner))):
        return text
    fields: dict[str, str] = {}

    def place(match: re.Match[str]) -> str:
        expression = match[1].strip()
        name = base = _field_name(expression)
        number = 1
        while fields.get(name, expression) != expression:
            number += 1
            name = f"{base}{number}"
        fields[name] = expression
        return f"{{{name}}}"

    pieces = re.split(r"(\{\{.*?\}\})", " ".join(inner.split()))
    message = "".join(
        place(match) if (match := _EXPRESSION.fullmatch(piece)) else piece.replace("{", "{{").replace("}", "}}")
        for piece in pieces
    )
    given = "".join(f", {name}=({expression})" for name, expression in fields.items())
    call = put(message, f"{{{{ _words({json.dumps(message, ensure_ascii=False)}{given}) }}}}")
    return text.replace(inner, call)


def _field_name(expression: str) -> str:
    """The name of an expression's value: the last one before its filters, beside texts."""
    value = re.sub(r'"[^"]*"|\'[^\']*\'', "", expression.partition(" if ")[0].partition("|")[0])
    candidates = _NAME.findall(value), _NAME.findall(re.sub(r'"[^"]*"', "", expression))
    names = next(filter(None, ([name for name in some if name not in _NO_NAMES] for some in candidates)), [])
    return names[-1].lower() if names else "value"
