"""A DPO or KTO run: settings, what was measured, charts, the film-strip with its slider, and the words that moved where they were asked for.

It holds no training pair, only what everybody sees of a run; its one script turns the film-strip.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from studio.domain.events import ProbeEvent, SampleEvent, StepEvent, SupportShare
from studio.domain.runs import AlignRecipe, DpoRecipe, align_recipe
from studio.domain.words import MovedWords
from studio.services import wording
from studio.services.pages.charts import training_charts
from studio.services.pages.frame import moment, policy, static_page
from studio.services.pages.words import shaded
from studio.services.runs.events import drop_superseded
from studio.services.runs.store import RunStore

_SCRIPT = "run.js"
#: What the page may load; served, the same goes into a header.
POLICY = policy(_SCRIPT)

#: A prompt, and the words of its answer that moved.
Moved = tuple[str, MovedWords]


def run_page(runs: RunStore, run_id: str, moved: Sequence[Moved] = ()) -> str:
    """The whole page of a DPO or KTO run, as HTML.

    Raises:
        InputError, NotFoundError: as ``RunStore.get``; RecipeError: the run is of another method.
    """
    run = runs.get(run_id)
    recipe = align_recipe(run.recipe)
    ratio = recipe.support_ratio if isinstance(recipe, DpoRecipe) else None
    events = drop_superseded(runs.events(run_id)[0])
    steps, probes = ([e for e in events if isinstance(e, kind)] for kind in (StepEvent, ProbeEvent))
    return static_page(
        "run.html",
        title=run.title,
        subtitle=(f"{recipe.method.upper()} on {recipe.base.id}, {moment(recipe.created)}", run.status.state, run_id),
        facts=_facts(recipe),
        recipes=[(run.title, recipe)],
        script=_SCRIPT,
        asked=ratio,
        sides=isinstance(recipe, DpoRecipe) and recipe.dataset_kind == "sides",
        shares=[
            (name, share, _figures(share))
            for name, share in (
                ("adapter", run.adapter_share),
                ("base", run.base_share),
                *((f"vector × {at:g}", share) for at, share in run.vector_shares),
            )
            if share is not None and share.n
        ],
        charts=training_charts(steps, probes, ratio),  # type: ignore[arg-type]
        frames=_frames(runs.samples(run_id)),
        moved=[(prompt, words.sum, shaded(words)) for prompt, words in moved],
    )


def _figures(share: SupportShare) -> str:
    return f"{share.share:.0%} {wording.bounds(share.low, share.high)} · n {share.n}, {share.abstained} abstained"


def _frames(samples: Sequence[SampleEvent]) -> list[tuple[int, list[tuple[str, str, str]]]]:
    """Each recorded step with (prompt, the base's answer, the answer then)."""
    ordered = sorted(samples, key=lambda sample: sample.step)
    first = {sample.prompt: sample.answer for sample in ordered if sample.step == ordered[0].step}
    return [
        (step, [(sample.prompt, first.get(sample.prompt, ""), sample.answer) for sample in frame])
        for step, frame in groupby(ordered, key=lambda sample: sample.step)
    ]


def _facts(recipe: AlignRecipe) -> dict[str, Any]:
    how = recipe.settings
    if isinstance(recipe, DpoRecipe):
        data = wording.counted(recipe.data_size, "pair")
        own = {
            "Support ratio": f"{recipe.support_ratio:g}",
            "Loss": f"{recipe.settings.loss_type}, beta {how.beta:g}",
        }
    else:
        up, kto = sum(recipe.rows_liked), recipe.settings
        data = f"{wording.counted(recipe.data_size, 'rated answer')}: {up} up, {recipe.data_size - up} down"
        weights = f"thumbs up {kto.desirable_weight:g}, down {kto.undesirable_weight:g}"
        own = {"Loss": f"KTO, beta {how.beta:g}", "Weights": weights}
    return {
        "Base": f"{recipe.base.id} {recipe.base.revision or ''}",
        "Data": f"{recipe.dataset_title}, {data}",
        **own,
        "LoRA": f"rank {recipe.lora.rank}, alpha {recipe.lora.alpha}",
        "Learning rate": f"{how.learning_rate:g}",
        "Seed": how.seed,
        "System prompt": recipe.system_prompt or "none",
    }
