"""Templates in which every text is escaped; the page floor renders its own with the same pieces."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension

from studio.i18n import said
from studio.services import wording
from studio.services.template_words import Words

#: Where templates of this floor are looked for: they are named from here, ``pages/frame.html``.
FOLDER = Path(__file__).parents[1]
#: Characters of the blurred stand-in at most: two lines or three, however long the text.
SHAPE = 150
#: No word in any language, however they follow each other.
_LETTERS, _WIDE = "nemuxs", "口田回"
#: A line break with the indentation behind it: beside a tag or between two expressions, and within a text.
_BESIDE_TAGS = re.compile(r"(?:(?<=>)|(?<=[%#]}))\s*\n\s*|(?<=}})\s*\n\s*(?=\{\{)|\s*\n\s*(?=<|\{[%#]|$)")
_IN_TEXT = re.compile(r"\s*\n\s*")
_FIGURES = ("counted", "percent", "bounds", "ratio", "decimal", "signed", "duration", "file_size", "shortened")


class _Compact(Extension):
    """Templates are laid out in lines; on the page a line break beside a tag or between two expressions is
    nothing, and one within a text a space."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return _IN_TEXT.sub(" ", _BESIDE_TAGS.sub("", source))


def shape(text: str) -> str:
    """Something as wide as the text's beginning, in which nothing of it is left but where its words end: what a cover shows."""
    narrow, wide = cycle(_LETTERS), cycle(_WIDE)
    cut = " ".join(text.split())[:SHAPE]
    return "".join(" " if c == " " else next(wide) if ord(c) > 0x2E7F else next(narrow) for c in cut)


def environment(*folders: Path) -> Environment:
    """Renders the templates below ``folders``, and those of this floor."""
    made = Environment(
        loader=FileSystemLoader([*folders, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        extensions=[_Compact, Words],
    )
    made.filters |= {"shape": shape, **{name: _spoken(getattr(wording, name)) for name in _FIGURES}}
    return made


def _spoken(figure: Callable[..., str]) -> Callable[..., str]:
    """A function of :mod:`studio.services.wording`, in the page's language."""
    return lambda *values: said(figure(*values))
