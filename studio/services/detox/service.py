"""Detox runs: from a form to a queued run, and from a run to its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from studio.domain.data import PreferenceDataset
from studio.domain.detox import DetoxPlan, DetoxSettings, RewardTerm
from studio.domain.runs import DetoxRecipe
from studio.domain.toxicity import TestPrompt
from studio.errors import RecipeError, StudioError
from studio.ml.detox.setup import check_family
from studio.ml.models.seq2seq import is_encoder_decoder
from studio.services.data.prompts import prompt_sets
from studio.services.detox.prompts import normal, plan_hash, split_prompts
from studio.services.detox.result import result_of
from studio.services.lineage.start import start_fields, starts
from studio.services.models.outlook import form_outlook
from studio.services.recipes.form import TrainingForm, recipe_fields
from studio.services.recipes.presets import DETOX_PRESETS
from studio.services.runs.folder import new_run_id
from studio.services.runs.outlook import Outlook
from studio.services.runs.queue import RunQueue
from studio.services.runs.status import counts
from studio.services.runs.store import RunStore, RunView

if TYPE_CHECKING:
    from studio.services.data.datasets import DatasetService
    from studio.services.models.service import ModelService, Progress
    from studio.services.scoring.service import ScoringService

#: In a form: choose a scorer that is no part of the reward, if there is one.
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class DetoxForm(TrainingForm[DetoxSettings]):
    """What a person chose for a detox run, unchecked.

    Attributes:
        dataset_id, prompt_sets: where its prompts come from (empty id: no dataset).
        start_run: id of the run whose adapter to go on from; empty: from the base.
        judge: name of the scorer that judges the end without being the reward, ``auto``, or empty for none.
        prompt_file, own_prompts: the name of a file somebody brought, and its prompts.
    """

    presets = DETOX_PRESETS

    prompt_sets: tuple[str, ...] = ()
    start_run: str = ""
    judge: str = AUTO
    prompt_file: str = ""
    own_prompts: tuple[TestPrompt, ...] = ()


class DetoxService:
    """Preview, start and read detox runs. Safe to use from many threads."""

    def __init__(
        self,
        datasets: DatasetService,
        runs: RunStore,
        models: ModelService,
        queue: RunQueue,
        scoring: ScoringService,
    ) -> None:
        self._queue = queue
        self._datasets = datasets
        self._runs = runs
        self._models = models
        self._scoring = scoring

    def starts(self, base: str) -> list[tuple[str, str]]:
        """(label, run id) of what a run on ``base`` can start from; the base itself first, with an empty id."""
        return starts(self._runs, base)

    def preset_for(self, base: str) -> str:
        """The preset that suits a base.

        Raises:
            InputError, ModelLoadError: as ``ModelService.info``.
        """
        model = self._models.info(base)
        if model.seq2seq:
            return "course"
        return {"embedded": "quick", "real-small": "real-small"}.get(model.preset, "hub-small")

    def preview(self, form: DetoxForm) -> DetoxPlan:
        """Exactly the prompts that :meth:`start` would train and measure on.

        Raises:
            NotFoundError: there is no such dataset.
            RecipeError: there is no such prompt set, or no prompt to train on.
        """
        return self._plan(form)[1]

    def judge_for(self, form: DetoxForm) -> str:
        """The scorer that will judge the end: the one named, or for ``auto`` the first ready one that is no part of the
        reward and knows a toxicity; empty where there is none."""
        if form.judge != AUTO:
            return form.judge
        rewards = {term.scorer for term in form.settings.rewards}
        names = [name for _, name in self._scoring.choices() if name not in rewards and not name.startswith("run:")]
        return next((name for name in names if self._scoring.ready(name)), "")

    def outlook(self, form: DetoxForm) -> Outlook:
        """How long a run of this form will be.

        Raises:
            RecipeError: a setting is out of range.
        """
        form.check()
        return form_outlook(form, 0, self._runs, self._models, self._queue)

    def start(self, form: DetoxForm, progress: Progress | None = None) -> RunView:
        """Check the form, write the run folder, queue the run. Training goes on without the caller. A base that is not here
        is downloaded first, its share reported to ``progress``, once all else that can be known is known to be right.

        Raises:
            NotFoundError: there is no such dataset or run.
            RecipeError, ConflictError: a setting is out of range or does not fit; the message names it and its value.
            InputError, ModelLoadError: base or scorer are not to be had.
        """
        form.check()
        dataset, plan, source = self._plan(form)
        known = self._models.info(form.base)
        check_family(form.settings, known.seq2seq)
        start = start_fields(self._runs, form.start_run, known.id)
        form = replace(form, settings=self._resolved(form))
        base, folder = self._models.resolve(form.base, progress)
        check_family(form.settings, is_encoder_decoder(folder))  # of a downloaded one it is known only now
        recipe = DetoxRecipe(
            run_id=new_run_id(f"detox-{dataset.id if dataset else 'prompts'}", None),
            **recipe_fields(form, base, f"Detox: {source}"),
            dataset_id=dataset.id if dataset else "",
            dataset_title=source,
            dataset_hash=dataset.content_hash if dataset else plan_hash(plan),
            row_ids=tuple(prompt.id for prompt in plan.prompts),
            sampling=known.sampling,
            **start,
        )
        return self._queue.start(recipe, dataset, plan)

    def list(self) -> Sequence[RunView]:
        """Detox runs, newest first."""
        return [view for view in self._runs.list() if view.method == "detox"]

    def again(self, run_id: str) -> DetoxForm:
        """The form a run was started with, as far as its record holds it.

        Raises:
            InputError, NotFoundError: no such run; RecipeError: it is no detox run.
        """
        recipe = DetoxRecipe.of(self._runs.get(run_id).recipe)
        detox, known = recipe.settings, {prompt_set.id for prompt_set in prompt_sets()}
        named = tuple(name for name in detox.prompt_sets if name in known)
        terms = tuple(replace(term, revision="") for term in detox.rewards)
        return DetoxForm(
            base=recipe.base.id,
            dataset_id=recipe.dataset_id,
            prompt_sets=named,
            preset=recipe.preset,
            lora=recipe.lora,
            settings=replace(detox, rewards=terms, judge_revision=""),
            start_run=recipe.start_run,
            judge=detox.judge,
            system_prompt=recipe.system_prompt,
            prompt_file=detox.prompt_file,
            own_prompts=self._own_prompts(run_id, recipe.dataset_id, named) if detox.prompt_file else (),
        )

    def result(self, run_id: str) -> dict[str, Any]:
        """What a run came to, as plain data: the keys of ``python -m studio detox --json``. What was not measured (yet) is
        None.

        Raises:
            InputError, NotFoundError: no such run; RecipeError: it is no detox run.
        """
        return result_of(self._runs.get_of(DetoxRecipe, run_id))

    def status(self, run_id: str) -> dict[str, Any]:
        """State, message and step counts of a run, and :meth:`result`'s keys.

        Raises:
            InputError, NotFoundError, RecipeError: as :meth:`result`.
        """
        return {**counts(self._runs.status(run_id)), **self.result(run_id)}

    # -- within -------------------------------------------------------------------------------------------------------

    def _plan(self, form: DetoxForm) -> tuple[PreferenceDataset | None, DetoxPlan, str]:
        """Data, prompts, and where they are from."""
        dataset = self._datasets.get(form.dataset_id) if form.dataset_id else None
        known = {prompt_set.id: prompt_set for prompt_set in prompt_sets()}
        if unknown := [name for name in form.prompt_sets if name not in known]:
            raise RecipeError(f"prompt_set is {unknown[0]!r}; use one of {', '.join(known) or 'none: none is there'}.")
        chosen = [known[name] for name in dict.fromkeys(form.prompt_sets)]
        plan = split_prompts(dataset, [*(prompt_set.prompts for prompt_set in chosen), form.own_prompts])
        titles = [dataset.title if dataset else "", *(prompt_set.title for prompt_set in chosen), form.prompt_file]
        return dataset, plan, " + ".join(filter(None, titles))

    def _own_prompts(self, run_id: str, dataset_id: str, sets: Sequence[str]) -> tuple[TestPrompt, ...]:
        """Those prompts of a run that neither its dataset nor its prompt sets gave: its file's."""
        chosen = [prompt_set for prompt_set in prompt_sets() if prompt_set.id in sets]
        others = [prompt.text for prompt_set in chosen for prompt in prompt_set.prompts]
        if dataset_id:
            data = self._runs.dataset(run_id)
            others += [*(pair.prompt for pair in (*data.pairs, *data.heldout)), *data.prompts, *data.test_prompts]
        known, plan = {normal(text) for text in others}, self._runs.plan(run_id)
        return tuple(prompt for prompt in (*plan.prompts, *plan.heldout) if normal(prompt.text) not in known)

    def _resolved(self, form: DetoxForm) -> DetoxSettings:
        """The settings with who exactly scores."""
        terms = tuple(
            RewardTerm(term.scorer.strip(), term.weight, self._scoring.spec(term.scorer).info.revision)
            for term in form.settings.rewards
        )
        judge = self.judge_for(form)
        if judge in {term.scorer for term in terms}:
            raise RecipeError(f"judge is {judge!r}, which is part of the reward; choose another scorer, or none.")
        try:
            revision = self._scoring.spec(judge).info.revision if judge else ""
        except StudioError as error:
            raise RecipeError(f"judge is {judge!r}, which cannot be had: {error}") from error
        return replace(
            form.settings,
            rewards=terms,
            judge=judge,
            judge_revision=revision,
            prompt_sets=tuple(form.prompt_sets),
            prompt_file=form.prompt_file,
        )
