"""Facts as chips: a name and a value each, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def chips_html(facts: Iterable[tuple[str, str]], title: str = "") -> str:
    """``facts`` as (name, value), escaped; ``title`` is told on hovering."""
    shown = "".join(f'<span class="chip"><i>{escape(name)}</i> {escape(value)}</span>' for name, value in facts)
    told = f' title="{escape(title)}"' if title else ""
    return f'<div class="chips"{told}>{shown}</div>'
