"""A Plotly chart that stays where a person zoomed while points are added.

``gr.Plot`` throws its chart away and draws another at every new value, and the zoom goes with it. This one hands Plotly the
new figure instead (``Plotly.react`` keeps what ``layout.uirevision`` names), by the page's script (``charts.js``). Plotly itself
is the copy Gradio brings, loaded with the first chart that comes into view.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.ui.page.theme import ASSETS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class LiveChart:
    """The component of one chart."""

    chart: gr.HTML

    def show(self, figure: Figure | None) -> dict[Any, Any]:
        """Updates that draw ``figure``, or nothing."""
        return {self.chart: None if figure is None else figure.to_json()}


def build_live_chart(elem_id: str, height: int) -> LiveChart:
    """Draw an empty chart at least ``height`` pixels high."""
    (plotly,) = ASSETS.glob("PlotlyPlot-*.js")
    script = f"studioChart({{element, props, watch}}, {json.dumps(f'assets/{plotly.name}')});"
    return LiveChart(
        gr.HTML(None, html_template="", js_on_load=script, elem_id=elem_id, min_height=height, apply_default_css=False)
    )
