"""Renders the page's HTML from templates, in which every text is escaped.

A template is a file of macros. Only what a macro of ours made goes into another one unescaped: it comes back as ``Markup``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup

from studio.i18n import said
from studio.services import wording
from studio.services.statistics.intervals import wilson
from studio.services.template_words import Words
from studio.ui.page import theme
from studio.ui.parts.cover import shape

#: A line break with the indentation behind it: beside a tag or between two expressions, and within a text.
_BESIDE_TAGS = re.compile(r"(?:(?<=>)|(?<=[%#]}))\s*\n\s*|(?<=}})\s*\n\s*(?=\{\{)|\s*\n\s*(?=<|\{[%#]|$)")
_IN_TEXT = re.compile(r"\s*\n\s*")
_FIGURES = ("counted", "percent", "bounds", "ratio", "decimal", "signed", "duration", "file_size", "shortened")


class _Compact(Extension):
    """Templates are laid out in lines; on the page a line break beside a tag or between two expressions is
    nothing, and one within a text a space."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return _IN_TEXT.sub(" ", _BESIDE_TAGS.sub("", source))


def _spoken(figure: Callable[..., str]) -> Callable[..., str]:
    """A function of :mod:`studio.services.wording`, in the page's language."""
    return lambda *values: said(figure(*values))


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parents[1]),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    extensions=[_Compact, Words],
)
_ENVIRONMENT.globals |= {"state_colors": theme.STATE_COLORS, "support_color": theme.SUPPORT_COLOR}
_ENVIRONMENT.filters |= {"date": lambda seconds: time.strftime("%Y-%m-%d", time.gmtime(seconds))}
_ENVIRONMENT.filters |= {
    # a token's white space, to be seen where the token is named, and to break lines where it stands
    "visible": lambda text: text.replace("\n", "↵").replace("\t", "⇥").replace(" ", "␣"),
    "shown_in_line": lambda text: text.replace("\n", "↵\n"),
}
_ENVIRONMENT.filters |= {
    "shape": shape,
    "wilson": wilson,
    "zip": zip,
    **{name: _spoken(getattr(wording, name)) for name in _FIGURES},
}


class Macros:
    """The macros of a template (by its path below ``studio/ui``), as functions that give HTML. It is read at the first call."""

    def __init__(self, template: str) -> None:
        self._template = template

    def __getattr__(self, macro: str) -> Callable[..., Markup]:
        function: Callable[..., Markup] = getattr(_ENVIRONMENT.get_template(self._template).module, macro)
        return function


#: What several views draw.
parts = Macros("parts/macros.html")
