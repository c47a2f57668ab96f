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

from markupsafe import Markup

from studio.i18n import _

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
_TAGS = re.compile(r"</?\w+>|&\w+;")
_NAME = re.compile(r"[A-Za-z_]\w*")
#: Texts are messages where they hold a word.
_WORD = re.compile(r"[A-Za-z]{2}")


def words(message: str, /, **fields: Any) -> Markup:
    """A message of a template, HTML as it stands there, in the language of now; fields are escaped where they are no HTML."""
    return Markup(_(message)).format(**fields) if fields else Markup(_(message).replace("{{", "{").replace("}}", "}"))


def marked(source: str) -> str:
    """A template whose texts are said by :func:`words`."""
    return _walked(source, lambda message, call: call)


def messages(source: str) -> list[str]:
    """The messages of a template."""
    found: list[str] = []

    def note(message: str, call: str) -> str:
        found.append(message)
        return call

    _walked(source, note)
    return found


def _walked(source: str, put: Callable[[str, str], str]) -> str:
    parts: list[str] = []
    group = ""
    for kind, text in _tokens(source):
        if kind in ("text", "expression", "inline"):
            group += text
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
    return _ATTRIBUTE.sub(lambda found: f'{found[1]}="{_said(found[2], put)}"', element)


def _said(text: str, put: Callable[[str, str], str]) -> str:
    inner = text.strip()
    if not _WORD.search(_TAGS.sub("", _EXPRESSION.sub("", inner))):
        return text
    fields: dict[str, str] = {}

    def place(found: re.Match[str]) -> str:
        expression = found[1].strip()
        name = base = _field_name(expression)
        number = 1
        while fields.get(name, expression) != expression:
            number += 1
            name = f"{base}{number}"
        fields[name] = expression
        return f"{{{name}}}"

    pieces = re.split(r"(\{\{.*?\}\})", " ".join(inner.split()))
    message = "".join(
        place(found) if (found := _EXPRESSION.fullmatch(piece)) else piece.replace("{", "{{").replace("}", "}}")
        for piece in pieces
    )
    given = "".join(f", {name}=({expression})" for name, expression in fields.items())
    call = put(message, f"{{{{ words({json.dumps(message, ensure_ascii=False)}{given}) }}}}")
    return text.replace(inner, call)


def _field_name(expression: str) -> str:
    """The name of an expression's value: the last one before its filters, beside texts."""
    value = re.sub(r'"[^"]*"|\'[^\']*\'', "", expression.partition(" if ")[0].partition("|")[0])
    names: list[str] = _NAME.findall(value) or _NAME.findall(expression)
    return names[-1].lower() if names else "value"
