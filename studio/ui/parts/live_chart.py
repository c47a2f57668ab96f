"""A Plotly chart that stays where a person zoomed while points are added.

``gr.Plot`` throws its chart away and draws another at every new value, and the zoom goes with it. This one hands Plotly the
new figure instead (``Plotly.react`` keeps what ``layout.uirevision`` names). Plotly itself is the copy Gradio brings: an
empty ``gr.Plot`` that nobody sees makes the page load it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# The drawing area is our own element, put back should Gradio render the template anew.
_SCRIPT = """
const area = document.createElement('div');
let waiting = null;
// where they would be too narrow side by side, the charts of one figure stand in fewer columns
const regrid = (layout, charts, columns) => {
  const rows = Math.ceil(charts / columns), gap = 0.08, width = (1 - gap * (columns - 1)) / columns;
  for (let i = 0; i < charts; i++) {
    const n = i ? i + 1 : '', left = (i % columns) * (width + gap), top = 1 - Math.floor(i / columns) / rows;
    Object.assign(layout['xaxis' + n], {domain: [left, left + width]});
    Object.assign(layout['yaxis' + n], {domain: [top - 0.66 / rows, top]});
    Object.assign(layout.annotations[i], {x: left + width / 2, y: top});
  }
  layout.height = 270 * rows;
  const inside = layout.meta?.legend_in; // the chart that the legend belongs to
  if (inside === undefined) { layout.legend.y = -0.2 / rows; }
  else { Object.assign(layout.legend, {x: (inside % columns) * (width + gap) + 0.02, y: 1 - Math.floor(inside / columns) / rows - 0.01 / rows}); }
};
let width = 0;
const draw = () => {
  if (!area.isConnected) { element.replaceChildren(area); }
  if (!props.value) { if (window.Plotly) { window.Plotly.purge(area); } return; }
  if (!window.Plotly) {
    if (!waiting) { waiting = setInterval(() => { if (window.Plotly) { clearInterval(waiting); waiting = null; draw(); } }, 100); }
    return;
  }
  const figure = JSON.parse(props.value);
  const quiet = getComputedStyle(element).getPropertyValue('--body-text-color').trim();
  figure.layout.font = Object.assign({}, figure.layout.font, quiet ? {color: quiet} : {});
  const charts = Object.keys(figure.layout).filter((key) => key.startsWith('yaxis')).length;
  width = area.clientWidth;
  const columns = width < 560 ? 1 : width < 860 && charts > 4 ? 2 : 0;
  if (columns && charts > 1) { regrid(figure.layout, charts, columns); }
  if (width) { figure.layout.width = width; }
  window.Plotly.react(area, figure.data, figure.layout, {displaylogo: false});
};
// drawn in a tab nobody looks at, it has no width to fill until it is shown; and a phone may be turned. Not Plots.resize:
// that forgets the height (nor responsive, which calls it).
new ResizeObserver(() => {
  if (area.clientWidth && area.clientWidth !== width && area.data && window.Plotly) { draw(); }
}).observe(area);
watch('value', draw);
draw();
"""


@dataclass(frozen=True)
class LiveChart:
    """The chart and what loads its library."""

    chart: gr.HTML
    library: gr.Plot

    def all(self) -> list[Any]:
        """Both components, as outputs."""
        return [self.chart, self.library]

    def show(self, figure: Figure | None) -> dict[Any, Any]:
        """Updates that draw ``figure``, or nothing."""
        if figure is None:
            return {self.chart: None}
        return {self.chart: figure.to_json()}

    def load(self) -> dict[Any, Any]:
        """Updates that make the page load Plotly; needed once a page."""
        from plotly.graph_objects import Figure

        return {self.library: Figure()}


def build_live_chart(elem_id: str, height: int, library: gr.Plot | None = None) -> LiveChart:
    """Draw an empty chart at least ``height`` pixels high. Charts of one panel may share what loads the ``library``."""
    chart = gr.HTML(
        None, html_template="", js_on_load=_SCRIPT, elem_id=elem_id, min_height=height, apply_default_css=False
    )
    return LiveChart(chart, library or gr.Plot(show_label=False, elem_classes="loads-plotly"))
