"""Writes the page: settings, what was measured, charts, the film-strip with its slider, and the words that moved where they were asked for.

It holds no training pair, only what everybody sees of a run; its one script turns the film-strip, and its policy lets nothing be
loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from studio import __version__
from studio.domain.data import to_dict
from studio.domain.events import ProbeEvent, SampleEvent, StepEvent, SupportShare
from studio.domain.runs import DpoRecipe
from studio.domain.words import MovedWords
from studio.services import wording
from studio.services.run_page.charts import HEIGHT, LEFT, WIDTH, training_charts
from studio.services.runs.events import drop_superseded
from studio.services.runs.store import RunStore
from studio.services.template_words import Words

_FOLDER = Path(__file__).parent
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[Words],
)
_ENVIRONMENT.filters |= {"percent": wording.percent, "signed": wording.signed}
#: Of a recipe, what would make a page long and says nothing to its reader.
_LEFT_OUT = ("row_ids", "rows_support")
#: Nats at which a word has its full colour.
_STRONGEST = 4.0

#: A prompt, and the words of its answer that moved.
Moved = tuple[str, MovedWords]


def policy() -> str:
    """What the page may load: its own style and its one script, nothing else. Served, the same goes into a header."""
    script = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"


def run_page(runs: RunStore, run_id: str, moved: Sequence[Moved] = ()) -> str:
    """The whole page of a DPO run, as HTML.

    Raises:
        InputError, NotFoundError: as ``RunStore.get``; RecipeError: the run is of another method.
    """
    run = runs.get_of(DpoRecipe, run_id)
    recipe = DpoRecipe.of(run.recipe)
    events = drop_superseded(runs.events(run_id)[0])
    steps, probes = ([e for e in events if isinstance(e, kind)] for kind in (StepEvent, ProbeEvent))
    return _ENVIRONMENT.get_template("page.html").render(
        policy=policy(),
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        script=_script(),
        run=run,
        recipe=recipe,
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(recipe.created)),
        version=__version__,
        sides=recipe.dataset_kind == "sides",
        shares=[
            (name, share, _figures(share))
            for name, share in (("adapter", run.adapter_share), ("base", run.base_share))
            if share is not None and share.n
        ],
        charts=training_charts(steps, probes, recipe.support_ratio),  # type: ignore[arg-type]
        size=(WIDTH, HEIGHT, LEFT),
        frames=_frames(runs.samples(run_id)),
        moved=[
            (prompt, words.sum, [(t.text, _shade(t.difference), t.difference) for t in words.tokens])
            for prompt, words in moved
        ],
        facts=_facts(recipe),
        recipe_json=json.dumps(
            {key: value for key, value in to_dict(recipe).items() if key not in _LEFT_OUT}, ensure_ascii=False, indent=1
        ),
    )


def _script() -> str:
    return (_FOLDER / "page.js").read_text(encoding="utf-8")


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


def _facts(recipe: DpoRecipe) -> dict[str, Any]:
    how = recipe.settings
    return {
        "Base": f"{recipe.base.id} {recipe.base.revision or ''}",
        "Data": f"{recipe.dataset_title}, {wording.counted(recipe.data_size, 'pair')}",
        "Support ratio": f"{recipe.support_ratio:g}",
        "Loss": f"{how.loss_type}, beta {how.beta:g}",
        "LoRA": f"rank {recipe.lora.rank}, alpha {recipe.lora.alpha}",
        "Learning rate": f"{how.learning_rate:g}",
        "Seed": how.seed,
        "System prompt": recipe.system_prompt or "none",
    }


def _shade(difference: float) -> str:
    """The background of a word: the studio's blue where it became likelier, its orange where less."""
    share = min(1.0, abs(difference) / _STRONGEST)
    return f"rgba({'59, 111, 182' if difference > 0 else '224, 122, 63'}, {0.6 * share:.2f})"
