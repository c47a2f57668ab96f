"""A before/after evaluation as one HTML file: no script, no request to anywhere, so it can be mailed, archived, put on any
static server. Answers are covered as on the page; every text from outside is escaped."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from studio import __version__
from studio.domain.data import to_dict
from studio.domain.evaluations import Evaluation
from studio.domain.runs import Recipe
from studio.services.evaluations.statistics import compare
from studio.services.evaluations.table import by_difference
from studio.ui.evaluations import charts, view
from studio.ui.page.theme import CSS_FILE

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: What the file may load: its own style, nothing else. Served, the same goes into a header.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
#: Of a recipe, what would make a report long and says nothing to its reader.
_LEFT_OUT = ("row_ids", "rows_support")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 300, 46, 58
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --ground: #fff; --soft: #566270; --line: #d8dee5;
  --body-text-color: var(--ink); --body-text-color-subdued: var(--soft); --border-color-primary: var(--line);
  --border-color-accent: var(--line); --background-fill-primary: var(--ground); --background-fill-secondary: transparent; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --ground: #121920; --soft: #a2aeba; --line: #35414d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1100px; padding: 20px 18px 60px; background: var(--ground); color: var(--ink);
  font: 16px/1.5 ui-sans-serif, system-ui, "Noto Sans", "Noto Sans CJK TC", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .2em; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin: 2em 0 .5em; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: 6px 8px; }
td, tbody th { border-top: 1px solid var(--line); } .n { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } dt { color: var(--soft); font-size: .9rem; } dd { margin: 0 0 .6em; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem; } svg { max-width: 100%; height: auto; }
.charts { display: flex; flex-wrap: wrap; gap: 16px; } .charts figure { margin: 0; flex: 1 1 min(420px, 100%); }
.show-covered { display: block; margin: 10px 0; } .eval-pairs { min-width: 720px; }
"""


def report_html(evaluation: Evaluation, names: Mapping[str, str], recipes: Mapping[str, Recipe]) -> str:
    """The whole page. ``names`` has titles of run ids, ``recipes`` the recipes of those that are still there."""
    spec = evaluation.spec
    found = compare(evaluation.rows, spec.adapters)
    adapters = {name: names.get(name, name) for name in spec.adapters}
    pictures = "".join(
        f"<figure>{_svg(figure)}</figure>"
        for figure in (
            charts.toxicity_figure(evaluation.rows, adapters),
            charts.reward_figure(evaluation.rows, adapters),
        )
        if figure is not None
    )
    rows = by_difference(evaluation.rows)
    tables = "".join(
        view.pairs_html(evaluation, rows, page, names, worst_first=False) for page in range(view.pages(len(rows)))
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{escape(spec.title)}</title><style>{CSS_FILE.read_text(encoding='utf-8')}{_STYLE}</style></head>"
        f'<body class="gradio-container"><h1>{escape(spec.title)}</h1>'
        f'<p class="quiet">Before and after, {_when(evaluation.created)} · Alignment Studio {__version__} · {evaluation.id}</p>'
        f"<h2>What was found</h2>{view.said_html(evaluation, found, names)}{view.figures_html(found, names)}"
        f'<div class="charts">{pictures}</div>'
        '<h2>Transcripts</h2><label class="show-covered"><input type="checkbox"> Show all covered texts on this page '
        "(answers to provoking questions may offend)</label>"
        f"{view.ends_html(evaluation)}<h2>All pairs</h2>{tables}<h2>How it was made</h2>{_recipe(evaluation, names, recipes)}"
        "</body></html>"
    )


def _recipe(evaluation: Evaluation, names: Mapping[str, str], recipes: Mapping[str, Recipe]) -> str:
    spec, how = evaluation.spec, evaluation.spec.sampling
    scorer = spec.scorer
    facts = {
        "Base model": f"{spec.base.id} {spec.base.revision} (fingerprint {spec.base.fingerprint[:16] or 'unknown'})",
        "Scorer": f"{scorer.title} ({scorer.name}, revision {scorer.revision or 'unknown'}). {scorer.measures}",
        "Prompts": f"{len(spec.prompts)}{f' of {spec.prompt_set}' if spec.prompt_set else ''}, "
        f"{sum(prompt.provoking for prompt in spec.prompts)} of them made to provoke; {spec.samples} sampled answers each",
        "Sampling": f"temperature {how.temperature:g}, top-p {how.top_p:g}, at most {how.max_new_tokens} tokens, repetition "
        f"penalty {how.repetition_penalty:g}, seed {how.seed}; the same seed before and after",
        "System prompt": spec.system_prompt or "none",
    }
    for side, name, mark in zip(
        ("Before", *("After" for _ in spec.adapters)), (spec.before, *spec.adapters), spec.hashes, strict=True
    ):
        label = f"{side}: {name}" if mark else side
        facts[label] = f"{names.get(name, name)} (adapter {mark})" if mark else "the base model"
    listed = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts.items())
    told = "".join(
        f"<details><summary>Recipe of {escape(names.get(name, name))}</summary><pre>{escape(_json(recipe))}</pre></details>"
        for name, recipe in recipes.items()
    )
    return f"<dl>{listed}</dl>{told}"


def _json(recipe: Recipe) -> str:
    kept = {key: value for key, value in to_dict(recipe).items() if key not in _LEFT_OUT and value is not None}
    return json.dumps(kept, ensure_ascii=False, indent=1)


def _when(created: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(created))


def _svg(figure: Figure) -> str:
    """The step lines of :mod:`studio.ui.evaluations.charts` drawn without a script; its legend below."""
    traces = list(figure.data)
    low = min(min(trace.x) for trace in traces)
    high = max(max(trace.x) for trace in traces)
    room = (high - low) * 0.03 or 0.5
    low, high = low - room, high + room

    def across(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - 10)

    def up(share: float) -> float:
        return 28 + (1 - share) * (_HEIGHT - _BOTTOM - 28)

    grid = "".join(
        f'<path d="M{_LEFT} {up(share):.1f}H{_WIDTH - 10}" stroke="currentColor" opacity=".18"/>'
        f'<text x="{_LEFT - 6}" y="{up(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        for share in (0.0, 0.5, 1.0)
    )
    ticks = "".join(
        f'<text x="{across(value):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:.2f}</text>'
        for value in (low + room, (low + high) / 2, high - room)
    )
    lines, legend, place = "", "", _LEFT
    for trace in traces:
        path = f"M{across(trace.x[0]):.1f} {up(trace.y[0]):.1f}"
        for x, y in zip(trace.x, trace.y, strict=True):
            path += f"H{across(x):.1f}V{up(y):.1f}"
        dash = ' stroke-dasharray="7 5"' if trace.line.dash == "dash" else ""
        stroke = f'fill="none" stroke="{escape(trace.line.color)}" stroke-width="2.5"{dash}'
        lines += f'<path d="{path}" {stroke}/>'
        # Plotly's names are escaped already
        legend += f'<path d="M{place} {_HEIGHT - 8}h22" {stroke}/><text x="{place + 28}" y="{_HEIGHT - 4}">{trace.name}</text>'
        place += 46 + 8 * len(trace.name)
    title, below = figure.layout.title.text, figure.layout.xaxis.title.text
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" font-size="12" fill="currentColor">'
        f'<text x="0" y="14" font-size="14">{escape(title)}</text>{grid}{ticks}{lines}'
        f'<text x="{_LEFT}" y="{_HEIGHT - _BOTTOM + 34}" opacity=".8">{escape(below)}</text>{legend}</svg>'
    )
