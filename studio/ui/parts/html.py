"""Renders the page's HTML from templates, in which every text is escaped.

A template is a file of macros. Only what a macro of ours made goes into another one unescaped: it comes back as ``Markup``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from markupsafe import Markup

from studio.services.pages.frame import THEME, static_text
from studio.services.pages.html import environment
from studio.services.statistics.intervals import wilson
from studio.ui.page import theme

_ENVIRONMENT = environment(Path(__file__).parents[1])
_ENVIRONMENT.globals |= {
    "state_colors": theme.STATE_COLORS,
    "support_color": theme.SUPPORT_COLOR,
    "theme_script": static_text(THEME),
}
_ENVIRONMENT.filters |= {
    "date": lambda seconds: time.strftime("%Y-%m-%d", time.gmtime(seconds)),
    # a token's white space, to be seen where the token is named, and to break lines where it stands
    "visible": lambda text: text.replace("\n", "↵").replace("\t", "⇥").replace(" ", "␣"),
    "shown_in_line": lambda text: text.replace("\n", "↵\n"),
    "wilson": wilson,
    "zip": zip,
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
