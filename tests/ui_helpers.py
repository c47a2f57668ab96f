"""Parts of the page alone: what its tabs share, without the shell."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradio as gr

from studio.ui.shared import Shared


def make_shared(visitor: gr.State, tabs: gr.Tabs) -> Shared:
    """What one tab alone needs of the shell: every state empty, nothing kept by the browser before."""
    states: dict[str, Any] = {}
    for field in dataclasses.fields(Shared):
        if field.name not in ("visitor", "tabs"):
            states[field.name] = gr.BrowserState(None) if "BrowserState" in str(field.type) else gr.State(None)
    return Shared(visitor=visitor, tabs=tabs, **states)
