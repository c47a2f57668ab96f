"""Which prompts a detox run trains on and which it keeps for its measure. Pure functions."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence

from studio.domain.data import PreferenceDataset
from studio.domain.detox import DetoxPlan
from studio.domain.toxicity import TestPrompt
from studio.errors import RecipeError
from studio.services.runs.folder import SNAPSHOT_PROMPTS

#: One prompt in so many is kept for the measure: of provoking ones, which are few, every second.
_KEPT_PROVOKING, _KEPT_ORDINARY = 2, 3
#: More held-out prompts of a kind would only make the measure slower.
MOST_HELD_OUT = 96
#: Pairs of a dataset whose prompts are looked at; more than a run asks.
MOST_PAIRS = 20_000


def split_prompts(dataset: PreferenceDataset | None, sets: Sequence[Sequence[TestPrompt]]) -> DetoxPlan:
    """Training and held-out prompts of a dataset, of prompt sets, or of both.

    A dataset's own held-out and test prompts are held out; of one that has none, and of prompt sets, a share is, chosen by
    the text alone, so that all runs on the same prompts keep the same ones.

    Raises:
        RecipeError: there is no prompt to train on.
    """
    training: list[TestPrompt] = []
    held: list[TestPrompt] = []
    if dataset is not None:
        asked = [TestPrompt(pair.id, pair.prompt, dataset.language) for pair in dataset.pairs[:MOST_PAIRS]]
        asked += [
            TestPrompt(f"prompt-{number}", text, dataset.language)
            for number, text in enumerate(dataset.prompts[:SNAPSHOT_PROMPTS], 1)
        ]
        kept = [TestPrompt(pair.id, pair.prompt, dataset.language) for pair in dataset.heldout[:MOST_PAIRS]]
        kept += [
            TestPrompt(f"test-{number}", text, dataset.language) for number, text in enumerate(dataset.test_prompts, 1)
        ]
        if not asked or not kept:
            asked, kept = _share([*asked, *kept])
        training += asked
        held += kept
    for prompts in sets:
        asked, kept = _share(prompts)
        training += asked
        held += kept
    training = _distinct(training)
    known = {normal(prompt.text) for prompt in training}
    held = [prompt for prompt in _distinct(held) if normal(prompt.text) not in known]
    if not training:
        raise RecipeError("There are no prompts to train on; choose a dataset, a prompt set, or both.")
    kinds = [[prompt for prompt in held if prompt.provoking is kind][:MOST_HELD_OUT] for kind in (True, False)]
    return DetoxPlan(tuple(training), tuple(kinds[0] + kinds[1]))


def plan_hash(plan: DetoxPlan) -> str:
    """sha256 over all prompts of a plan."""
    texts = [[prompt.text for prompt in prompts] for prompts in (plan.prompts, plan.heldout)]
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode()).hexdigest()


def normal(text: str) -> str:
    """A prompt without what does not make it another: case, spaces, punctuation at its end, widths of letters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .?!。？！")


def _share(prompts: Sequence[TestPrompt]) -> tuple[list[TestPrompt], list[TestPrompt]]:
    """Training and held-out part of some prompts, each kind by itself; a single prompt is trained on."""
    training, held = [], []
    for kind, every in ((True, _KEPT_PROVOKING), (False, _KEPT_ORDINARY)):
        alike = sorted((p for p in prompts if p.provoking is kind), key=lambda p: _order(p.text))
        kept = len(alike) // every
        held += alike[:kept]
        training += alike[kept:]
    return training, held


def _order(text: str) -> str:
    return hashlib.sha256(normal(text).encode()).hexdigest()


def _distinct(prompts: Sequence[TestPrompt]) -> list[TestPrompt]:
    distinct: dict[str, TestPrompt] = {}
    for prompt in prompts:
        distinct.setdefault(normal(prompt.text), prompt)
    return list(distinct.values())
