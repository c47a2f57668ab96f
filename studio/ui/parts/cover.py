"""Covers over text that may offend: nothing of it can be read, on a projector either, until somebody asks to see it.

What lies under the blur is not the text but letters of the same shape, so that no sharp eye and no screen reader finds
anything there. The text itself stays ``hidden`` without the page's style sheet, too. It is a disclosure (``<details>``): a
button for the mouse, the keyboard and screen readers, without any script. The macro ``covered`` of ``macros.html`` draws one.
"""

from __future__ import annotations

from itertools import cycle

import gradio as gr

#: Characters of the blurred stand-in at most: two lines or three, however long the text.
SHAPE = 150
#: No word in any language, however they follow each other.
_LETTERS, _WIDE = "nemuxs", "口田回"


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


def shape(text: str) -> str:
    """Something as wide as the text's beginning, in which nothing of it is left but where its words end."""
    narrow, wide = cycle(_LETTERS), cycle(_WIDE)
    cut = " ".join(text.split())[:SHAPE]
    return "".join(" " if c == " " else next(wide) if ord(c) > 0x2E7F else next(narrow) for c in cut)
