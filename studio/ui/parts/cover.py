"""A cover over text that may offend: nothing of it can be read, on a projector either, until somebody asks to see it.

What lies under the blur is not the text but letters of the same shape, so that no sharp eye and no screen reader finds
anything there. The text itself stays ``hidden`` without the page's style sheet, too. It is a disclosure
(``<details>``): a button for the mouse, the keyboard and screen readers, without any script.
"""

from __future__ import annotations

from html import escape
from itertools import cycle

import gradio as gr

from studio.services.wording import counted

#: Characters of the blurred stand-in at most: two lines or three, however long the text.
SHAPE = 150
#: No word in any language, however they follow each other.
_LETTERS, _WIDE = "nemuxs", "口田回"


def covered(text: str, words: str = "") -> str:
    """``text`` as escaped HTML under a cover. ``words`` names it for who cannot see where it stands ("answer before").

    An empty text is told as such: there is nothing to cover.
    """
    if not text.strip():
        return '<i class="quiet">(empty)</i>'
    named = f"Show the covered {escape(words or 'text', quote=True)}, {_length(text)}"
    return (
        f'<div class="cover"><details><summary aria-label="{named}" title="{_length(text)}">'
        f'<span class="cover-shape" aria-hidden="true">{_shape(text)}</span>'
        '<span class="cover-show" aria-hidden="true"><b>Show</b></span>'
        '<span class="cover-hide" aria-hidden="true">Hide</span></summary></details>'
        f'<div class="cover-text" dir="auto" hidden>{escape(text)}</div></div>'
    )


def cover_switch() -> gr.Checkbox:
    """Draws the switch that takes off every cover of this page, for whoever ticked it and until they reload. It needs no
    event: the style sheet looks at it."""
    return gr.Checkbox(
        False,
        label="Show all covered texts on this page",
        info="Answers to provoking questions may offend; mind who sees this screen.",
        elem_classes="show-covered",
        container=False,
    )


def _length(text: str) -> str:
    """How long the text is, in characters: the one measure that English and Chinese share."""
    return counted(len(text.strip()), "character")


def _shape(text: str) -> str:
    """Something as wide as the text's beginning, in which nothing of it is left but where its words end."""
    narrow, wide = cycle(_LETTERS), cycle(_WIDE)
    cut = " ".join(text.split())[:SHAPE]
    return "".join(" " if c == " " else next(wide) if ord(c) > 0x2E7F else next(narrow) for c in cut)
