"""Detox runs: from a form to a queued run, and from a run to its result."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from studio.config import Settings
from studio.domain.data import PreferenceDataset
from studio.domain.detox import DetoxPlan, DetoxSettings, RewardTerm
from studio.domain.runs import LoraSettings, Recipe
from studio.domain.toxicity import TestPrompt
from studio.errors import ConflictError, RecipeError, StudioError
from studio.ml.detox.setup import ALGORITHMS, check_family, check_together
from studio.ml.models.seq2seq import is_encoder_decoder
from studio.services.data.prompts import prompt_sets
from studio.services.detox.prompts import normal, plan_hash, split_prompts
from studio.services.detox.result import result_of
from studio.services.recipes.checks import check_common, not_longer, one_of, within
from studio.services.recipes.presets import DETOX_PRESETS
from studio.services.recipes.queue import ensure_trainer, library_versions
from studio.services.runs.folder import new_run_id
from studio.services.runs.methods import detox_run
from studio.services.runs.status import counts
from studio.services.runs.store import RunStore, RunView

if TYPE_CHECKING:
    from studio.services.data.datasets import DatasetService
    from studio.services.models import ModelService, Progress
    from studio.services.scoring.service import ScoringService

#: In a form: choose a scorer that is no part of the reward, if there is one.
AUTO = "auto"
#: Reward terms of a run.
MAX_TERMS = 4


@dataclass(frozen=True)
class DetoxForm:
    """What a person chose for a detox run, unchecked.

    Attributes:
        start_run: id of the run whose adapter to go on from; empty: from the base.
        dataset_id, prompt_sets: where its prompts come from (empty id: no dataset).
        prompt_file, own_prompts: the name of a file somebody brought, and its prompts.
        judge: name of the scorer that judges the end without being the reward, ``auto``, or empty for none.
    """

    base: str
    dataset_id: str
    prompt_sets: tuple[str, ...]
    preset: str
    lora: LoraSettings
    detox: DetoxSettings
    start_run: str = ""
    judge: str = AUTO
    system_prompt: str = ""
    title: str = ""
    prompt_file: str = ""
    own_prompts: tuple[TestPrompt, ...] = ()


class DetoxService:
    """Preview, start and read detox runs. Safe to use from many threads."""

    def __init__(
        self,
        settings: Settings,
        datasets: DatasetService,
        runs: RunStore,
        models: ModelService,
        toxicity: ScoringService,
    ) -> None:
        self._settings = settings
        self._datasets = datasets
        self._runs = runs
        self._models = models
        self._toxicity = toxicity

    def starts(self, base: str) -> list[tuple[str, str]]:
        """(label, run id) of what a run on ``base`` can start from; the base itself first, with an empty id."""
        return [("The base itself", "")] + [
            (f"{run.title} · {run.adapter_hash}", run.run_id)
            for run in self._runs.list()
            if run.has_adapter and run.method != "reward" and run.recipe.base.id == base
        ]

    def preset_for(self, base: str) -> str:
        """The preset that suits a base.

        Raises:
            InputError, ModelLoadError: as ``ModelService.info``.
        """
        model = self._models.info(base)
        if model.seq2seq:
            return "course"
        return "quick" if model.preset == "embedded" else "hub-small"

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
        rewards = {term.scorer for term in form.detox.rewards}
        names = [name for _, name in self._toxicity.choices() if name not in rewards and not name.startswith("run:")]
        return next((name for name in names if self._toxicity.ready(name)), "")

    def start(self, form: DetoxForm, progress: Progress | None = None) -> RunView:
        """Check the form, write the run folder, queue the run. Training goes on without the caller. A base that is not here
        is downloaded first, told to ``progress``, once all else that can be known is known to be right.

        Raises:
            NotFoundError: there is no such dataset or run.
            RecipeError, ConflictError: a setting is out of range or does not fit; the message names it and its value.
            InputError, ModelLoadError: base or scorer are not to be had.
        """
        check_detox(form)
        dataset, plan, source = self._plan(form)
        known = self._models.info(form.base)
        check_family(form.detox, known.seq2seq)
        start_hash = self._start_hash(form.start_run, known.id)
        detox = self._resolved(form)
        base, folder = self._models.resolve(form.base, progress)
        check_family(form.detox, is_encoder_decoder(folder))  # of a downloaded one it is known only now
        digest = dataset.content_hash if dataset else plan_hash(plan)
        data = dataset or _no_data(source, digest)
        recipe = Recipe(
            run_id=new_run_id(f"detox-{data.id}", None),
            title=" ".join(form.title.split()) or f"Detox: {source}"[:120],
            method="detox",
            base=base,
            dataset_id=data.id,
            dataset_title=source,
            dataset_hash=digest,
            dataset_kind=data.kind,
            support_ratio=0.0,
            data_size=len(plan.prompts),
            shuffle=True,
            system_prompt=form.system_prompt.strip(),
            preset=form.preset,
            lora=form.lora,
            dpo=None,
            row_ids=tuple(prompt.id for prompt in plan.prompts),
            rows_support=(),
            created=time.time(),
            versions=library_versions(),
            detox=detox,
            start_run=form.start_run,
            start_hash=start_hash,
        )
        self._runs.create(recipe, data, plan)
        ensure_trainer(self._settings)
        return self._runs.get(recipe.run_id)

    def list(self) -> Sequence[RunView]:
        """Detox runs, newest first."""
        return [view for view in self._runs.list() if view.method == "detox"]

    def again(self, run_id: str) -> DetoxForm:
        """The form a run was started with, as far as its record tells (a prompt set is told by its id in the run's data).

        Raises:
            InputError, NotFoundError: no such run; RecipeError: it is no detox run.
        """
        recipe = detox_run(self._runs, run_id).recipe
        known = {found.id for found in prompt_sets()}
        named = tuple(name for name in recipe.detox_settings.prompt_sets if name in known)
        dataset = recipe.dataset_id if recipe.dataset_id != NO_DATASET else ""
        terms = tuple(replace(term, revision="") for term in recipe.detox_settings.rewards)
        return DetoxForm(
            base=recipe.base.id,
            dataset_id=dataset,
            prompt_sets=named,
            preset=recipe.preset,
            lora=recipe.lora,
            detox=replace(recipe.detox_settings, rewards=terms, judge_revision=""),
            start_run=recipe.start_run,
            judge=recipe.detox_settings.judge,
            system_prompt=recipe.system_prompt,
            prompt_file=recipe.detox_settings.prompt_file,
            own_prompts=self._own_prompts(run_id, dataset, named) if recipe.detox_settings.prompt_file else (),
        )

    def result(self, run_id: str) -> dict[str, Any]:
        """What a run came to, as plain data: the keys of ``python -m studio detox --json``. What was not measured (yet) is
        None.

        Raises:
            InputError, NotFoundError: no such run; RecipeError: it is no detox run.
        """
        return result_of(detox_run(self._runs, run_id))

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
        known = {found.id: found for found in prompt_sets()}
        if unknown := [name for name in form.prompt_sets if name not in known]:
            raise RecipeError(f"prompt_set is {unknown[0]!r}; use one of {', '.join(known) or 'none: none is there'}.")
        chosen = [known[name] for name in dict.fromkeys(form.prompt_sets)]
        plan = split_prompts(dataset, [*(found.prompts for found in chosen), form.own_prompts])
        titles = [dataset.title if dataset else "", *(found.title for found in chosen), form.prompt_file]
        return dataset, plan, " + ".join(filter(None, titles))

    def _own_prompts(self, run_id: str, dataset_id: str, sets: Sequence[str]) -> tuple[TestPrompt, ...]:
        """Those prompts of a run that neither its dataset nor its prompt sets gave: its file's."""
        others = [prompt.text for found in prompt_sets() if found.id in sets for prompt in found.prompts]
        if dataset_id:
            data = self._runs.dataset(run_id)
            others += [*(pair.prompt for pair in (*data.pairs, *data.heldout)), *data.prompts, *data.test_prompts]
        known, plan = {normal(text) for text in others}, self._runs.plan(run_id)
        return tuple(prompt for prompt in (*plan.prompts, *plan.heldout) if normal(prompt.text) not in known)

    def _start_hash(self, run_id: str, base: str) -> str:
        if not run_id:
            return ""
        start = self._runs.get(run_id)
        if start.method == "reward":
            raise ConflictError(f"Run {run_id} is a reward model; a detox run goes on from an adapter that answers.")
        if not start.has_adapter:
            raise ConflictError(f"Run {run_id} has no adapter yet; it is {start.status.state}.")
        if start.recipe.base.id != base:
            raise RecipeError(
                f"start_run is {run_id}, an adapter of {start.recipe.base.id}, and the base is {base}; choose one base for "
                "both."
            )
        return start.adapter_hash

    def _resolved(self, form: DetoxForm) -> DetoxSettings:
        """The settings with who exactly scores."""
        terms = tuple(
            RewardTerm(term.scorer.strip(), term.weight, self._toxicity.spec(term.scorer).info.revision)
            for term in form.detox.rewards
        )
        judge = self.judge_for(form)
        if judge in {term.scorer for term in terms}:
            raise RecipeError(f"judge is {judge!r}, which is part of the reward; choose another scorer, or none.")
        try:
            revision = self._toxicity.spec(judge).info.revision if judge else ""
        except StudioError as error:
            raise RecipeError(f"judge is {judge!r}, which cannot be had: {error}") from error
        return replace(
            form.detox,
            rewards=terms,
            judge=judge,
            judge_revision=revision,
            prompt_sets=tuple(form.prompt_sets),
            prompt_file=form.prompt_file,
        )


def detox_form(base: str, preset: str, **changes: Any) -> DetoxForm:
    """A form with a preset's settings; ``changes`` are further fields of :class:`DetoxForm`.

    Raises:
        RecipeError: there is no such preset.
    """
    one_of("preset", preset, tuple(DETOX_PRESETS))
    chosen = DETOX_PRESETS[preset]
    return dataclasses.replace(DetoxForm(base, "", (), preset, chosen.lora, chosen.detox), **changes)


def check_detox(form: DetoxForm) -> None:
    """Check every hyper-parameter.

    Raises:
        RecipeError: the first one out of range, with its value and what is allowed.
    """
    detox = form.detox
    check_common(form.lora, detox)
    one_of("preset", form.preset, tuple(DETOX_PRESETS))
    one_of("algorithm", detox.algorithm, ALGORITHMS)
    within("beta", detox.beta, 0, 1000)
    within("reward_clip", detox.reward_clip, 0, 1000)
    within("prompts_per_step", detox.prompts_per_step, 1, 256)
    within("generations", detox.generations, 2, 256)
    within("ordinary", detox.ordinary, 0, 1)
    within("batch_size", detox.batch_size, 0, 4096)
    within("steps", detox.steps, 1, 100_000)
    within("temperature", detox.temperature, 0.05, 5)
    within("top_p", detox.top_p, 0.05, 1)
    within("max_new_tokens", detox.max_new_tokens, 1, 4096)
    within("sample_every", detox.sample_every, 1, 100_000)
    if not 1 <= len(detox.rewards) <= MAX_TERMS:
        raise RecipeError(f"There are {len(detox.rewards)} reward terms; a run has 1 to {MAX_TERMS}.")
    names = [term.scorer.strip() for term in detox.rewards]
    for term, name in zip(detox.rewards, names, strict=True):
        if not name:
            raise RecipeError("A reward term names no scorer; choose one or take the term away.")
        if names.count(name) > 1:
            raise RecipeError(f"{name} is in the reward twice; give it one weight.")
        within(f"weight of {name}", term.weight, -100, 100)
    check_together(detox)
    not_longer("system_prompt", form.system_prompt, 8000)
    not_longer("title", form.title, 120)


#: Id of the data of a run whose prompts come from prompt sets alone.
NO_DATASET = "prompts"


def _no_data(title: str, digest: str) -> PreferenceDataset:
    return PreferenceDataset(NO_DATASET, title, "labels", "", (), (), (), digest, "prompt sets")
