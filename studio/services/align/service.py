"""Turn the dial: from a form to a queued run, and from a run to its result."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.config import Settings
from studio.domain.data import PreferenceDataset, PreferenceRow
from studio.domain.events import SupportShare
from studio.domain.runs import DpoSettings, LoraSettings, Recipe
from studio.errors import RecipeError
from studio.ml.dpo.setup import LOSS_TYPES, MAX_REPLAY_WEIGHT
from studio.services.data.dial import build_preferences
from studio.services.data.openings import can_open, with_openings
from studio.services.files.records import finite
from studio.services.recipes.checks import check_training, not_longer, one_of, with_pairs, within
from studio.services.recipes.presets import PRESETS
from studio.services.recipes.queue import ensure_trainer, library_versions
from studio.services.runs.events import Event
from studio.services.runs.folder import new_run_id
from studio.services.runs.status import counts
from studio.services.runs.store import RunStore, RunView

if TYPE_CHECKING:
    from studio.services.data.datasets import DatasetService
    from studio.services.models import ModelService, Progress

NOT_BY_DPO = "DPO here is for causal models, so choose one of those, or train this one in a detox run."


@dataclass(frozen=True)
class AlignForm:
    """What a person chose for a run, unchecked. ``dataset_id`` and ``base`` are ids of the respective services."""

    base: str
    dataset_id: str
    support_ratio: float
    data_size: int
    shuffle: bool
    system_prompt: str
    preset: str
    lora: LoraSettings
    dpo: DpoSettings
    title: str = ""


class AlignService:
    """Preview, start, follow and read runs."""

    def __init__(self, settings: Settings, datasets: DatasetService, runs: RunStore, models: ModelService) -> None:
        self._settings = settings
        self._datasets = datasets
        self._runs = runs
        self._models = models

    def preview(self, form: AlignForm) -> tuple[PreferenceRow, ...]:
        """Exactly the rows that :meth:`start` would train on, in their order.

        Raises:
            NotFoundError: there is no such dataset.
            DatasetError: it holds prompts without answers.
            RecipeError: ratio or size does not fit it.
        """
        return _rows(form, _opened(form, self._datasets.get(form.dataset_id)))

    def start(self, form: AlignForm, progress: Progress | None = None) -> str:
        """Check the form, write the run folder, queue the run; its id. Training goes on without the caller. A base that is
        not here is downloaded first, told to ``progress``, once all else is known to be right.

        Raises:
            NotFoundError, DatasetError: as :meth:`preview`.
            RecipeError: a setting is out of range; the message names it and its value.
            InputError, ModelLoadError: the base model is not to be had.
        """
        dataset = self._datasets.get(form.dataset_id)
        if not can_open(dataset):
            form = dataclasses.replace(form, dpo=dataclasses.replace(form.dpo, side_first=False))
        dataset = _opened(form, dataset)
        rows = _rows(form, dataset)
        check_settings(form)
        base, _ = self._models.resolve_causal(form.base, NOT_BY_DPO, progress)
        recipe = Recipe(
            run_id=new_run_id(dataset.id, form.support_ratio),
            title=" ".join(form.title.split()) or f"{dataset.title}, ratio {form.support_ratio:g}",
            method="dpo",
            base=base,
            dataset_id=dataset.id,
            dataset_title=dataset.title,
            dataset_hash=dataset.content_hash,
            dataset_kind=dataset.kind,
            support_ratio=form.support_ratio,
            data_size=form.data_size,
            shuffle=form.shuffle,
            system_prompt=form.system_prompt.strip(),
            preset=form.preset,
            lora=form.lora,
            dpo=form.dpo,
            row_ids=tuple(row.pair_id for row in rows),
            rows_support=tuple(row.side == "support" for row in rows),
            created=time.time(),
            versions=library_versions(),
        )
        self._runs.create(recipe, dataset)
        ensure_trainer(self._settings)
        return recipe.run_id

    def resume(self, run_id: str) -> None:
        """Queue a stopped, failed or interrupted run again; it goes on from its checkpoint.

        Raises:
            InputError, NotFoundError, ConflictError: as ``RunStore.resume``.
        """
        self._runs.resume(run_id)
        ensure_trainer(self._settings)

    def wait(self, run_id: str, on_event: Callable[[Event], None], poll_s: float = 0.1) -> RunView:
        """Follow a run in the foreground until it ends, handing each event to ``on_event``.

        Keeps the trainer alive meanwhile, and starts another if it was killed.

        Raises:
            InputError, NotFoundError: no such run, or it was discarded meanwhile.
        """
        offset, ensured = 0, 0.0
        while True:
            final = self._runs.ended(run_id)
            events, offset = self._runs.events(run_id, offset)
            for event in events:
                on_event(event)
            if final:
                return self._runs.get(run_id)
            if time.monotonic() - ensured > 5.0:
                ensure_trainer(self._settings)
                ensured = time.monotonic()
            time.sleep(poll_s)

    def result(self, run_id: str) -> dict[str, Any]:
        """What a run came to, as plain data: the keys of ``python -m studio align --json``. What was not measured (yet)
        is None. ``seconds`` is the time worked on the run: loading, training and measuring.

        Raises:
            InputError, NotFoundError: no such run.
        """
        view = self._runs.get(run_id)
        last, probe = view.last_step, view.probe
        return {
            "run": view.run_id,
            "folder": str(view.folder),
            "seconds": view.status.seconds,
            "loss": finite(last.loss) if last else None,
            "margin": finite(last.margin) if last else None,
            "probe": {"share": probe.share, "n": probe.n, "margin": finite(probe.margin)} if probe else None,
            "support_share": _share(view.adapter_share),
            "base_support_share": _share(view.base_share),
        }

    def status(self, run_id: str) -> dict[str, Any]:
        """State, message and step counts of a run, and :meth:`result`'s keys.

        Raises:
            InputError, NotFoundError: no such run.
        """
        return {**counts(self._runs.status(run_id)), **self.result(run_id)}


def _opened(form: AlignForm, dataset: PreferenceDataset) -> PreferenceDataset:
    return with_openings(dataset) if form.dpo.side_first else dataset


def _rows(form: AlignForm, dataset: PreferenceDataset) -> tuple[PreferenceRow, ...]:
    with_pairs(dataset, "DPO")
    return build_preferences(dataset.pairs, form.support_ratio, form.data_size, form.dpo.seed, form.shuffle)


def preset_form(
    base: str, dataset_id: str, support_ratio: float, data_size: int, preset: str, **changes: Any
) -> AlignForm:
    """A form with a preset's settings; ``changes`` are further fields of :class:`AlignForm`.

    Raises:
        RecipeError: there is no such preset.
    """
    chosen = PRESETS.get(preset)
    if chosen is None:
        raise RecipeError(f"preset is {preset!r}; use one of {', '.join(PRESETS)}.")
    form = AlignForm(
        base=base,
        dataset_id=dataset_id,
        support_ratio=support_ratio,
        data_size=data_size,
        shuffle=False,
        system_prompt="",
        preset=preset,
        lora=chosen.lora,
        dpo=chosen.dpo,
    )
    return dataclasses.replace(form, **changes)


def check_settings(form: AlignForm) -> None:
    """Check every hyper-parameter.

    Raises:
        RecipeError: the first one out of range, with its value and what is allowed.
    """
    dpo = form.dpo
    check_training(form.lora, dpo)
    one_of("loss_type", dpo.loss_type, LOSS_TYPES)
    one_of("preset", form.preset, tuple(PRESETS))
    within("beta", dpo.beta, 1e-6, 1000)
    within("label_smoothing", dpo.label_smoothing, 0, 0.49)
    within("replay_weight", dpo.replay_weight, 0, MAX_REPLAY_WEIGHT)
    if dpo.loss_type == "exo_pair" and dpo.label_smoothing == 0:
        raise RecipeError("label_smoothing is 0; the loss exo_pair needs it above 0 (0.001 is usual).")
    within("sample_every", dpo.sample_every, 1, 100000)
    not_longer("system_prompt", form.system_prompt, 8000)
    not_longer("title", form.title, 120)


def _share(share: SupportShare | None) -> dict[str, Any] | None:
    if share is None:
        return None
    return {
        "share": finite(share.share),
        "low": finite(share.low),
        "high": finite(share.high),
        "n": share.n,
        "abstained": share.abstained,
        "judge_accuracy": finite(share.judge_accuracy),
    }
