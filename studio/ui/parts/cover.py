"""Covers over text that may offend: nothing of it can be read, on a projector either, until somebody asks to see it.

What lies under the blur is not the text but letters of the same shape, so that no sharp eye and no screen reader finds
anything there. The text itself stays ``hidden`` without the page's style sheet, too. It is a disclosure (``<details>``): a
button for the mouse, the keyboard and screen readers, without any script. The macro ``covered`` of ``services/pages/parts.html`` draws one.
"""

from __future__ import annotations

import gradio as gr


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
