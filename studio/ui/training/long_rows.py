"""Rows too long for a run, said beside the form before it is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from studio.domain.runs import RowsThatFit
from studio.errors import StudioError
from studio.i18n import said
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET


def bind_long_rows(
    note: gr.Markdown, fit: Callable[..., RowsThatFit | None], inputs: Sequence[Any], fields: Sequence[Any]
) -> None:
    """Write into ``note`` which rows are left out and how many answers are cut, whenever one of ``fields`` changes.

    Args:
        fit: from the values of ``inputs``, the whole form.
    """

    def tell(*values: Any) -> str:
        try:
            fitted = fit(*values)
        except StudioError:  # what is wrong with the form is said where it stands
            return ""
        return f"⚠️ {said(str(fitted))}" if fitted is not None and str(fitted) else ""

    changes = [field.change for field in fields]
    gr.on(changes, guarded(tell), list(inputs), note, trigger_mode="always_last", **QUIET)
