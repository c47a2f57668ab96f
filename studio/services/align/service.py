"""Turn the dial: from a form to a queued run, and from a run to its result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.domain.data import PreferenceDataset, RatedAnswer
from studio.domain.events import SupportShare
from studio.domain.runs import DpoRecipe, KtoRecipe, RowsThatFit
from studio.domain.settings import DpoSettings
from studio.errors import DatasetError
from studio.ml.lengths.rows import rows_that_fit
from studio.services.align.form import AlignForm, kto_form, kto_rows
from studio.services.data.dial import PreferenceRows, build_preferences
from studio.services.data.stance_prefix import can_prefix, with_stance_prefix
from studio.services.files.records import finite
from studio.services.lineage.start import start_fields, starts
from studio.services.models.outlook import form_outlook
from studio.services.recipes.form import TrainingForm, kept_rows, pair_fields, recipe_fields, row_fields, with_pairs
from studio.services.recipes.presets import PRESETS, find_preset
from studio.services.runs.folder import new_run_id
from studio.services.runs.outlook import Outlook
from studio.services.runs.queue import RunQueue
from studio.services.runs.status import counts
from studio.services.runs.store import RunStore
from studio.services.wording import shortened

if TYPE_CHECKING:
    from studio.services.data.datasets import DatasetService
    from studio.services.models.service import ModelService, Progress

NOT_BY_DPO = "DPO and KTO here are for causal models, so choose one of those, or train this one in a detox run."


class AlignService:
    """Preview, start and read DPO runs, and KTO runs on rated answers. Safe to use from many threads."""

    def __init__(self, datasets: DatasetService, runs: RunStore, models: ModelService, queue: RunQueue) -> None:
        self._datasets = datasets
        self._runs = runs
        self._models = models
        self._queue = queue

    def starts(self, base: str) -> list[tuple[str, str]]:
        """As :func:`studio.services.lineage.start.starts`."""
        return starts(self._runs, base)

    def suited(self, base: str, preset: str, dataset_id: str) -> tuple[str, str, str]:
        """Base, preset and system prompt of a run for which nobody chose: the base that forms begin with, the preset made for
        the base, the preset's prompt in the language of the data. What is given stays.

        Raises:
            InputError, ModelLoadError, NotFoundError, RecipeError: there is no such base, dataset or preset.
        """
        base = base or self._models.default_base()
        preset = preset or self._models.info(base).preset
        return base, preset, find_preset(PRESETS, preset).system_prompt(self._datasets.get(dataset_id).language)

    def form(
        self,
        base: str,
        preset: str,
        dataset_id: str,
        support_ratio: float,
        data_size: int,
        seed: int,
        epochs: float,
    ) -> AlignForm:
        """The form of a run for which a program chose no more than this; what is empty as :meth:`suited`, ``epochs`` 0 takes the preset's.

        Raises:
            InputError, ModelLoadError, NotFoundError, RecipeError: as :meth:`suited`.
        """
        base, preset, prompt = self.suited(base, preset, dataset_id)
        data = {"dataset_id": dataset_id, "support_ratio": support_ratio, "data_size": data_size}
        form = AlignForm.from_preset(base, preset, system_prompt=prompt, **data)
        return replace(form, settings=replace(form.settings, seed=seed, epochs=epochs or form.settings.epochs))

    def preview(self, form: AlignForm) -> PreferenceRows:
        """Exactly the rows that :meth:`start` would train on, in their order; of many pairs only those that are looked at are read.

        Raises:
            NotFoundError: there is no such dataset.
            DatasetError: it holds prompts without answers, or rated ones.
            RecipeError: ratio or size does not fit it.
        """
        return _rows(form, _prefixed(form, self._datasets.get(form.dataset_id)))

    def preview_rated(self, form: AlignForm) -> tuple[RatedAnswer, ...]:
        """The same for data of rated answers; empty for other data.

        Raises:
            NotFoundError, RecipeError: as :meth:`preview`.
        """
        dataset = self._datasets.get(form.dataset_id)
        return kto_rows(kto_form(form), dataset) if dataset.rated else ()

    def outlook(self, form: AlignForm) -> Outlook:
        """How long a run of this form will be.

        Raises:
            RecipeError: a setting is out of range. NotFoundError: there is no such dataset.
        """
        checked = self._by_data(form)
        return form_outlook(checked, form.data_size, self._runs, self._models, self._queue)

    def fit(self, form: AlignForm) -> RowsThatFit | None:
        """Which of the rows fit into the base and ``max_length``; None where the base is not here yet.

        Raises:
            NotFoundError, DatasetError, RecipeError: as :meth:`start`.
            InputError, ModelLoadError: no such base, or its tokenizer cannot be read.
        """
        checked = self._by_data(form)
        rows = self.preview_rated(form) or self.preview(form)
        if not self._models.info(form.base).cached:
            return None
        path = self._models.resolve_causal(form.base, NOT_BY_DPO).path
        return rows_that_fit(str(path), rows, form.system_prompt.strip(), checked.settings, self._models.trusts_code)

    def start(self, form: AlignForm, progress: Progress | None = None) -> str:
        """Check the form, write the run folder, queue the run; its id. Training goes on without the caller. A base that is
        not here is downloaded first, its share reported to ``progress``, once all else is known to be right.

        Raises:
            NotFoundError, DatasetError: as :meth:`preview`.
            NotFoundError, ConflictError, RecipeError: what it is to go on from as :func:`studio.services.lineage.start.start_fields`.
            RecipeError: a setting is out of range; the message names it and its value.
            InputError, ModelLoadError: the base model is not to be had.
        """
        dataset = self._datasets.get(form.dataset_id)
        if dataset.rated:
            return self._start_kto(form, dataset, progress)
        if not can_prefix(dataset):
            form = replace(form, settings=replace(form.settings, stance_prefix=False))
        dataset = _prefixed(form, dataset)
        rows = _rows(form, dataset)
        form.check()
        start = start_fields(self._runs, form.start_run, self._models.info(form.base).id)
        base, path = self._models.resolve_causal(form.base, NOT_BY_DPO, progress)
        fit = rows_that_fit(str(path), rows, form.system_prompt.strip(), form.settings, self._models.trusts_code)
        recipe = DpoRecipe(
            run_id=new_run_id(dataset.id, form.support_ratio),
            **recipe_fields(form, base, _short_name(dataset.id, f"{form.support_ratio * 100:g} %", base.id)),
            **pair_fields(dataset, rows, form.support_ratio, fit),
            sampling=self._models.info(form.base).sampling,
            shuffle=form.shuffle,
            **start,
        )
        return self._queue.start(recipe, dataset).run_id

    def _start_kto(self, form: AlignForm, dataset: PreferenceDataset, progress: Progress | None) -> str:
        kto = kto_form(form)
        asked = kto_rows(kto, dataset)
        kto.check()
        start = start_fields(self._runs, kto.start_run, self._models.info(kto.base).id)
        base, path = self._models.resolve_causal(kto.base, NOT_BY_DPO, progress)
        fit = rows_that_fit(str(path), asked, kto.system_prompt.strip(), kto.settings, self._models.trusts_code)
        rows = kept_rows(asked, fit)
        recipe = KtoRecipe(
            run_id=new_run_id(dataset.id, None),
            **recipe_fields(kto, base, _short_name(dataset.id, "KTO", base.id)),
            **row_fields(dataset, [row.id for row in rows], fit),
            rows_liked=tuple(row.liked for row in rows),
            sampling=self._models.info(kto.base).sampling,
            **start,
        )
        return self._queue.start(recipe, dataset).run_id

    def _by_data(self, form: AlignForm) -> TrainingForm[Any]:
        """The form that counts for its data, checked: that of KTO for rated answers."""
        rated = bool(self._datasets.get(form.dataset_id).rated)
        checked: TrainingForm[Any] = kto_form(form) if rated else form
        checked.check()
        return checked

    def result(self, run_id: str) -> dict[str, Any]:
        """What a run came to, as plain data: the keys of ``python -m studio align --json``. What was not measured (yet)
        is None. ``seconds`` is the time worked on the run: loading, training and measuring. A run that went on from an adapter has
        ``start_run``, and ``start_support_share`` in place of ``base_support_share``; one whose steering vector was measured has ``vector_shares``.

        Raises:
            InputError, NotFoundError: no such run.
        """
        view = self._runs.get(run_id)
        last, probe = view.last_step, view.probe
        start: dict[str, Any] = {}
        if run := view.recipe.start_run:  # what was measured before the first step is not the base then
            start = {"base_support_share": None, "start_support_share": _share(view.base_share), "start_run": run}
        return {
            "run": view.run_id,
            "folder": str(view.folder),
            "seconds": view.status.seconds,
            "loss": finite(last.loss) if last else None,
            "margin": finite(last.margin) if last else None,
            "probe": {"share": probe.share, "n": probe.n, "margin": finite(probe.margin)} if probe else None,
            "support_share": _share(view.adapter_share),
            "base_support_share": _share(view.base_share),
            **(
                {"vector_shares": [{"strength": at, **figures(share)} for at, share in view.vector_shares]}
                if view.vector_shares
                else {}
            ),
            **start,
        }

    def status(self, run_id: str) -> dict[str, Any]:
        """State, message and step counts of a run, and :meth:`result`'s keys.

        Raises:
            InputError, NotFoundError: no such run.
        """
        return {**counts(self._runs.status(run_id)), **self.result(run_id)}


def _short_name(dataset_id: str, how: str, base: str) -> str:
    """The name of a run that nobody named: data, ratio or method, base, as ``Live action en · 90 % · smollm2-135m``."""
    data = " ".join(dataset_id.replace("_", "-").split("-")).strip()
    return f"{shortened(data[:1].upper() + data[1:], 40)} · {how} · {shortened(Path(base).name, 30)}"


def _prefixed(form: AlignForm, dataset: PreferenceDataset) -> PreferenceDataset:
    return with_stance_prefix(dataset) if form.settings.stance_prefix else dataset


def _rows(form: AlignForm, dataset: PreferenceDataset) -> PreferenceRows:
    if dataset.rated:
        raise DatasetError(
            f"{dataset.title} holds rated answers, which KTO trains on one by one; what varies a dial or a loss of pairs needs pairs. "
            "Choose preference pairs, or press Train."
        )
    with_pairs(dataset, "DPO")
    dpo = form.settings
    return build_preferences(
        dataset.pairs, form.support_ratio, form.data_size, dpo.seed, form.shuffle, _checked_flips(dpo)
    )


def _checked_flips(settings: DpoSettings) -> float:
    """``flip_share``, checked: a preview is made before all settings are."""
    settings.declared()["flip_share"].check(settings.flip_share)
    return settings.flip_share


def _share(share: SupportShare | None) -> dict[str, Any] | None:
    return None if share is None else figures(share)


def figures(share: SupportShare) -> dict[str, Any]:
    """A measured share as plain data."""
    return {
        "share": finite(share.share),
        "low": finite(share.low),
        "high": finite(share.high),
        "n": share.n,
        "abstained": share.abstained,
        "judge_accuracy": finite(share.judge_accuracy),
        "whole": share.whole,
    }
