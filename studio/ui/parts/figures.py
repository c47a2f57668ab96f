"""One look for all charts. Pure functions; Plotly itself is imported by whoever draws."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from studio.services.wording import shortened
from studio.ui.page.theme import SANS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: Lines of the grid, readable on light and dark grounds.
GRID = "rgba(128,128,128,.22)"
#: A line that something is to be compared with.
REFERENCE = {"color": "#999", "width": 1.5, "dash": "dash"}
#: Ticks of an axis of shares.
SHARES: dict[str, Any] = {
    "tickvals": [0, 0.25, 0.5, 0.75, 1],
    "ticktext": ["0 %", "25 %", "50 %", "75 %", "100 %"],
}


def styled(figure: Figure, title: str = "", **layout: Any) -> Figure:
    """``figure`` on a transparent ground with a faint grid. While ``uirevision`` (the title, where none is given) stays the
    same, Plotly keeps zoom and pan."""
    given = {"title": {"text": title, "font": {"size": 14}, "x": 0, "xanchor": "left"}} if title else {}
    clear = "rgba(0,0,0,0)"
    look = {
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
        "font": {"color": "#888", "size": 12, "family": ", ".join(SANS)},
        "uirevision": title or "untitled",
    }
    figure.update_layout({**look, **given, **layout})
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    return figure


def label(text: str, most: int = 0) -> str:
    """A name from outside as Plotly takes it, which reads names as HTML; cut to ``most`` characters where that is given."""
    return escape(shortened(text, most) if most else text)
