"""A before/after evaluation: what was found, charts, transcripts, every pair. Without a script; answers are covered as in the studio."""

from __future__ import annotations

from collections.abc import Mapping

from studio.domain.evaluations import Evaluation, EvaluationSpec
from studio.domain.runs import Recipe
from studio.domain.toxicity import TextScore
from studio.errors import StudioError
from studio.services.evaluations.curves import curves
from studio.services.evaluations.reading import figure_lines, footing, headline
from studio.services.evaluations.statistics import compare
from studio.services.evaluations.table import by_difference, ends, provoking_ids
from studio.services.pages.charts import distribution_chart
from studio.services.pages.frame import moment, static_page
from studio.services.runs.store import RunStore
from studio.services.wording import shortened

#: Characters of an adapter's title in a legend.
_NAME = 40


def evaluation_page(runs: RunStore, evaluation: Evaluation, way_back: bool = False) -> str:
    """The whole page, as HTML, with the titles and recipes of the runs that are still there; with a ``way_back`` where a server shows
    it."""
    recipes: dict[str, Recipe] = {}
    names: dict[str, str] = {}
    for name in (evaluation.spec.before, *evaluation.spec.adapters):
        try:
            run = runs.get(name)
        except StudioError:  # the base, or a run that was deleted since
            continue
        recipes[name], names[name] = run.recipe, run.title
    return evaluation_html(evaluation, names, recipes, way_back)


def evaluation_html(
    evaluation: Evaluation, names: Mapping[str, str], recipes: Mapping[str, Recipe], way_back: bool = False
) -> str:
    """:func:`evaluation_page` with ``names``, the titles of run ids, and ``recipes`` as they are given."""
    spec = evaluation.spec
    comparison = compare(evaluation.rows, spec.adapters)
    adapters = {name: shortened(names.get(name, name), _NAME) for name in spec.adapters}

    def toxicity(score: TextScore) -> float | None:
        return score.toxicity

    def reward(score: TextScore) -> float | None:
        return score.reward

    charts = (
        distribution_chart("Toxicity of answers", curves(evaluation.rows, adapters, toxicity), "milder to the left:"),
        distribution_chart("Reward of answers", curves(evaluation.rows, adapters, reward), "better to the right:"),
    )
    best, worst = ends(evaluation)
    return static_page(
        "evaluation.html",
        title=spec.title,
        subtitle=(f"Before and after, {moment(evaluation.created)}", evaluation.id),
        facts=_facts(spec, names),
        recipes=[(names.get(name, name), recipe) for name, recipe in recipes.items()],
        way_back=way_back,
        findings=headline(evaluation, comparison, names),
        footing=footing(evaluation),
        figures=figure_lines(comparison, names),
        charts=[chart for chart in charts if chart is not None],
        best=best,
        worst=worst,
        provoking=provoking_ids(evaluation),
        rows=by_difference(evaluation.rows),
        names=names if len(spec.adapters) > 1 else None,
    )


def _facts(spec: EvaluationSpec, names: Mapping[str, str]) -> dict[str, str]:
    how, judge, scorer = spec.sampling, spec.scorer, spec.scorer.title
    prompts, samples, provoking = len(spec.prompts), spec.samples, sum(prompt.provoking for prompt in spec.prompts)
    facts = {
        "Base model": f"{spec.base.id} {spec.base.revision} (fingerprint {spec.base.fingerprint[:16] or 'unknown'})",
        "Scorer": f"{scorer} ({judge.name}, revision {judge.revision or 'unknown'}). {judge.measures}",
        "Prompts": f"{prompts} of {spec.prompt_set}, {provoking} of them made to provoke; {samples} sampled answers each"
        if spec.prompt_set
        else f"{prompts}, {provoking} of them made to provoke; {samples} sampled answers each",
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
