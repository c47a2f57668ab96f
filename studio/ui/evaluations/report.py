"""A before/after evaluation as one HTML file: no script, no request to anywhere, so it can be mailed, archived, put on any
static server. Answers are covered as on the page."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from studio import __version__
from studio.domain.data import to_dict
from studio.domain.evaluations import Evaluation, EvaluationSpec
from studio.domain.runs import Recipe
from studio.services.evaluations.statistics import compare
from studio.services.evaluations.table import by_difference
from studio.ui.evaluations import charts, view
from studio.ui.page.theme import CSS_FILE
from studio.ui.parts.html import Macros

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: What the file may load: its own style, nothing else. Served, the same goes into a header.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_HTML = Macros("evaluations/report.html")
_STYLES = (CSS_FILE, Path(__file__).with_name("report.css"))
#: Of a recipe, what would make a report long and says nothing to its reader.
_LEFT_OUT = ("row_ids", "rows_support")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 300, 46, 58


def report_html(
    evaluation: Evaluation, names: Mapping[str, str], recipes: Mapping[str, Recipe], way_back: bool = False
) -> Markup:
    """The whole page, with a ``way_back`` where a server shows it. ``names`` has titles of run ids, ``recipes`` the recipes of those that are still there."""
    spec, rows = evaluation.spec, by_difference(evaluation.rows)
    comparison = compare(evaluation.rows, spec.adapters)
    adapters = {name: names.get(name, name) for name in spec.adapters}
    figures = (charts.toxicity_figure(evaluation.rows, adapters), charts.reward_figure(evaluation.rows, adapters))
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(evaluation.created))
    return _HTML.document(
        policy=POLICY,
        style=Markup("".join(path.read_text(encoding="utf-8") for path in _STYLES)),
        spec=spec,
        subtitle=f"Before and after, {made} · Alignment Studio {__version__} · {evaluation.id}",
        findings=view.findings_html(evaluation, comparison, names),
        figures=view.figures_html(comparison, names),
        charts=[_steps(figure) for figure in figures if figure is not None],
        transcripts=view.ends_html(evaluation),
        tables=[
            view.pairs_html(evaluation, rows, page, names, worst_first=False) for page in range(view.pages(len(rows)))
        ],
        facts=_facts(spec, names),
        recipes=[(names.get(name, name), _json(recipe)) for name, recipe in recipes.items()],
        way_back=way_back,
    )


def _facts(spec: EvaluationSpec, names: Mapping[str, str]) -> dict[str, str]:
    how, scorer = spec.sampling, spec.scorer
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
    return facts


def _json(recipe: Recipe) -> str:
    kept = {key: value for key, value in to_dict(recipe).items() if key not in _LEFT_OUT and value is not None}
    return json.dumps(kept, ensure_ascii=False, indent=1)


def _steps(figure: Figure) -> dict[str, Any]:
    """The step lines of :mod:`studio.ui.evaluations.charts` as the template draws them, in pixels."""
    traces = list(figure.data)
    low = min(min(trace.x) for trace in traces)
    high = max(max(trace.x) for trace in traces)
    room = (high - low) * 0.03 or 0.5
    low, high = low - room, high + room

    def across(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - 10)

    def up(share: float) -> float:
        return 28 + (1 - share) * (_HEIGHT - _BOTTOM - 28)

    lines, place = [], _LEFT
    for trace in traces:
        path = f"M{across(trace.x[0]):.1f} {up(trace.y[0]):.1f}"
        path += "".join(f"H{across(x):.1f}V{up(y):.1f}" for x, y in zip(trace.x, trace.y, strict=True))
        # Plotly takes names as HTML
        name = html.unescape(trace.name)
        dashed = trace.line.dash == "dash"
        lines.append({"path": path, "color": trace.line.color, "dashed": dashed, "name": name, "place": place})
        place += 46 + 8 * len(name)
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "bottom": _BOTTOM,
        "title": figure.layout.title.text,
        "below": figure.layout.xaxis.title.text,
        "grid": [(up(share), f"{share:.0%}") for share in (0.0, 0.5, 1.0)],
        "ticks": [(across(value), f"{value:.2f}") for value in (low + room, (low + high) / 2, high - room)],
        "lines": lines,
    }
