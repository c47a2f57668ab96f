"""What a detox run's worker needs beside base and recipe: prompts, and scorers in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from studio.domain.data import PreferenceDataset
from studio.domain.detox import DetoxPlan
from studio.domain.runs import DetoxRecipe
from studio.errors import StudioError, TrainingError
from studio.services.files.records import read_record
from studio.services.runs.folder import PLAN
from studio.services.runs.store import RunStore
from studio.services.scoring.scorers import ScorerCatalogue

if TYPE_CHECKING:
    from studio.ml.scorers.protocol import Scorer
    from studio.services.runs.job import Job


def read_inputs(job: Job) -> dict[str, Any]:
    """The fields of ``ml.detox.DetoxJob`` that are a detox run's own, by name.

    Raises:
        TrainingError: a scorer is gone, or is not what it was when the run was queued.
    """
    from studio.services.models.service import ModelService

    settings, recipe = job.settings, DetoxRecipe.of(job.recipe)
    detox = recipe.settings
    runs = RunStore(settings)
    catalogue = ScorerCatalogue(settings, runs, ModelService(settings))

    def loaded(name: str, revision: str) -> Scorer:
        from studio.ml.scorers.load import load_scorer

        try:
            spec = catalogue.spec(name)
        except StudioError as error:
            raise TrainingError(f"The scorer {name} cannot be had any more: {error}") from error
        if revision not in ("", spec.info.revision):
            raise TrainingError(
                f"The scorer {name} is now {spec.info.revision[:12]}; this run was made for {revision[:12]}. Start a new run."
            )
        return load_scorer(spec, device=settings.device, trust_remote_code=settings.trust_remote_code)

    plan = read_record(DetoxPlan, job.folder / PLAN)
    return {
        "prompts": plan.prompts,
        "heldout": plan.heldout,
        "scorers": tuple(loaded(term.scorer, term.revision) for term in detox.rewards),
        "judge": loaded(detox.judge, detox.judge_revision) if detox.judge else None,
        **_stance(job.dataset),
    }


def _stance(dataset: PreferenceDataset | None) -> dict[str, Any]:
    """What the judge of stances learns from and is asked about; nothing for data without sides."""
    if dataset is None or dataset.kind != "sides":
        return {}
    # As for a DPO run: the judge may read the held-out pairs too, which no training touches, and so abstains less.
    pairs = (*dataset.pairs, *dataset.heldout)
    if len(pairs) < 2:
        return {}
    prompts = dataset.test_prompts or tuple(pair.prompt for pair in dataset.heldout)
    return {"judge_pairs": pairs, "stance_prompts": prompts}
