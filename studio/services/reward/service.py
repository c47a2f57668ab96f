"""Reward models: from votes and preference data to a queued run, from a run to an honest result, and on to the next run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from studio.domain.data import PreferenceDataset
from studio.domain.events import RewardReport
from studio.domain.runs import RewardRecipe, RowsThatFit
from studio.domain.settings import RewardSettings
from studio.domain.votes import Ballots, Decision
from studio.errors import DatasetError, RecipeError
from studio.ml.lengths.rows import rows_that_fit
from studio.services.align.form import AlignForm
from studio.services.align.service import AlignService
from studio.services.files.records import finite
from studio.services.models.outlook import form_outlook
from studio.services.rating.rules import decide, tally
from studio.services.recipes.form import TrainingForm, pair_fields, recipe_fields, with_pairs
from studio.services.recipes.presets import REWARD_PRESETS
from studio.services.reward.curve import SHARES, CurvePoint, learning_curve, more_votes, part_of
from studio.services.reward.data import RewardData, TableRow, gather, table, to_dataset
from studio.services.runs.folder import new_run_id
from studio.services.runs.outlook import Outlook
from studio.services.runs.queue import RunQueue
from studio.services.runs.status import counts
from studio.services.runs.store import RunStore, RunView
from studio.services.votes.dataset import (
    ALL_ROOMS,
    LeftOut,
    keep_votes_as_dataset,
    last_run_on_votes,
    left_out,
    new_decided_since,
    preference_dataset,
    votes_id,
    votes_of_id,
    votes_source,
)

if TYPE_CHECKING:
    from studio.services.data.datasets import DatasetService
    from studio.services.models.service import ModelService, Progress

#: The course's reward base, and how the Hub calls it now.
ENCODER = "distilbert/distilroberta-base"
_ALIASES = {"distilroberta-base": ENCODER}
NO_HEAD = "a reward model grows from an encoder (such as DistilRoBERTa) or a causal model, so choose one of those."


class Votes(Protocol):
    """What is read of the rooms."""

    def ballots(self, code: str | None = None) -> Sequence[Ballots]:
        """The votes of one room, or of each."""


@dataclass(frozen=True, kw_only=True)
class RewardForm(TrainingForm[RewardSettings]):
    """What a person chose for a reward run, unchecked: ``votes`` (of the room with the code ``room``, or of all), a dataset, or both."""

    presets = REWARD_PRESETS

    votes: bool = False
    room: str = ALL_ROOMS
    support_ratio: float = 1.0
    data_size: int = 0


@dataclass(frozen=True)
class VoteCount:
    """How far the votes are: ``decided`` pairs that can be trained on, of which ``new`` are not in the newest run on votes
    (or decided otherwise now); ``left_out`` the rest, by reason; ``last`` that run's title, empty without one."""

    decided: int
    new: int
    left_out: LeftOut
    last: str


@dataclass(frozen=True)
class RewardPreview:
    """Exactly the data :meth:`RewardService.start` would use, and the pairs that votes left out. ``tallies``: how the votes on
    each decided pair stand, by its id; ``title`` the dataset's."""

    data: RewardData
    left_out: LeftOut | None
    tallies: Mapping[str, str] = field(default_factory=dict)
    title: str = ""

    def table(self, most: int) -> tuple[TableRow, ...]:
        """At most ``most`` of its rows, see ``reward_data.table``."""
        return table(self.data, self.tallies, self.title, most)


class RewardService:
    """Preview, start and read reward runs; close the loop from votes to runs. Safe to use from many threads."""

    def __init__(
        self,
        datasets: DatasetService,
        runs: RunStore,
        models: ModelService,
        queue: RunQueue,
        align: AlignService,
        votes: Votes,
    ) -> None:
        self._queue = queue
        self._datasets = datasets
        self._runs = runs
        self._models = models
        self._align = align
        self._votes = votes

    def bases(self) -> list[tuple[str, str]]:
        """(title, id) of the bases to choose from: the catalogue's, and the course's encoder."""
        listed = [(info.title, info.id) for info in self._models.catalogue() if not info.seq2seq]
        return [*listed[:1], ("DistilRoBERTa base, 82M (the course's; CPU)", ENCODER), *listed[1:]]

    def preset_for(self, base: str) -> str:
        """The preset that suits a base.

        Raises:
            InputError, ModelLoadError: as ``ModelService.info``.
        """
        model = base_id(base)
        if any(name in model.lower() for name in ("bert", "electra", "deberta", "minilm")):
            return "encoder"
        preset = self._models.info(model).preset
        return preset if preset in REWARD_PRESETS else "hub-small"

    def preview(self, form: RewardForm) -> RewardPreview:
        """Exactly the rows that :meth:`start` would train on and measure on.

        Raises:
            NotFoundError: there is no such dataset, or no such room.
            DatasetError: the votes decide no pair, or the dataset holds prompts without answers.
            RecipeError: ratio or size does not fit, or no data was chosen.
        """
        votes, lost, tallies = self._voted(form.room) if form.votes else (None, None, {})
        data = with_pairs(self._datasets.get(form.dataset_id), "a reward run") if form.dataset_id else None
        gathered = gather(votes, data, form.support_ratio, form.data_size, form.settings.seed)
        return RewardPreview(gathered, lost, tallies, data.title if data else "")

    def outlook(self, form: RewardForm) -> Outlook:
        """How long a run of this form will be.

        Raises:
            NotFoundError, DatasetError: as :meth:`preview`.
            RecipeError: a setting is out of range.
        """
        form.check()
        form = replace(form, base=base_id(form.base))
        return form_outlook(form, len(self.preview(form).data.rows), self._runs, self._models, self._queue)

    def fit(self, form: RewardForm) -> RowsThatFit | None:
        """Which of the rows fit into the base and ``max_length``; None where the base is not here yet.

        Raises:
            NotFoundError, DatasetError, RecipeError: as :meth:`start`.
            InputError, ModelLoadError: no such base, or its tokenizer cannot be read.
        """
        form.check()
        rows = self.preview(form).data.rows
        if not self._models.info(base_id(form.base)).cached:
            return None
        path = self._models.resolve_causal(base_id(form.base), NO_HEAD).path
        return rows_that_fit(str(path), rows, form.system_prompt.strip(), form.settings, self._models.trusts_code)

    def start(self, form: RewardForm, progress: Progress | None = None) -> str:
        """Check the form, write the run folder, queue the run; its id. Training goes on without the caller. A base that is
        not here is downloaded first, its share reported to ``progress``, once all else is known to be right.

        Raises:
            NotFoundError, DatasetError: as :meth:`preview`.
            RecipeError: a setting is out of range; the message names it and its value.
            InputError, ModelLoadError: the base model is not to be had.
        """
        return self._start(form, (1.0,), progress)[-1]

    def start_curve(self, form: RewardForm, progress: Progress | None = None) -> tuple[str, ...]:
        """As :meth:`start`, one run for each of :data:`SHARES` of the pairs, all measured on the same held-out ones; their ids, that of
        the run on all pairs last. What one run keeps of the base the next ones read.

        Raises:
            as :meth:`start`; RecipeError: there are too few pairs to take a part of.
        """
        return self._start(form, SHARES, progress)

    def curve(self, run_id: str) -> tuple[CurvePoint, ...]:
        """The learning curve that a run belongs to; empty where it has fewer than two points.

        Raises:
            InputError, NotFoundError: no such run; RecipeError: it is no reward run.
        """
        return learning_curve(self._runs.get_of(RewardRecipe, run_id), self.list())

    def _start(self, form: RewardForm, shares: Sequence[float], progress: Progress | None) -> tuple[str, ...]:
        data = self.preview(form).data
        form.check()
        if shares[0] * len(data.rows) < 1:
            raise RecipeError(
                f"There are {len(data.rows)} training pairs; a learning curve needs at least {round(1 / shares[0])}."
            )
        base, path = self._models.resolve_causal(base_id(form.base), NO_HEAD, progress)
        dataset, started = to_dataset(data), []
        for share in shares:
            rows = part_of(data.rows, share, form.settings.seed) if share < 1 else data.rows
            part = f" ({share:.0%} of the pairs)" if share < 1 else ""
            fit = rows_that_fit(str(path), rows, form.system_prompt.strip(), form.settings, self._models.trusts_code)
            shared = recipe_fields(form, base, f"Reward: {dataset.title}")
            recipe = RewardRecipe(
                run_id=new_run_id(f"reward-{dataset.id}", form.support_ratio),
                **{**shared, "title": f"{shared['title'][: 120 - len(part)]}{part}"},
                **pair_fields(dataset, rows, form.support_ratio, fit),
            )
            started.append(self._queue.start(recipe, dataset).run_id)
        return tuple(started)

    def list(self) -> Sequence[RunView]:
        """Reward runs, newest first."""
        return [view for view in self._runs.list() if view.method == "reward"]

    def result(self, run_id: str) -> dict[str, Any]:
        """What a run came to, as plain data: the keys of ``python -m studio reward --json``. What was not measured (yet) is
        None; ``learned`` is true only where the interval lies above both baselines.

        Raises:
            InputError, NotFoundError: no such run; RecipeError: it is no reward run.
        """
        view = self._runs.get_of(RewardRecipe, run_id)
        last, report = view.last_step, view.reward
        return {
            "run": view.run_id,
            "folder": str(view.folder),
            "seconds": view.status.seconds,
            "loss": finite(last.loss) if last else None,
            "accuracy": _accuracy(report),
            "baselines": {"majority": finite(report.majority), "longer": finite(report.longer)} if report else None,
            "dropped": report.dropped if report else None,
            "learned": report.learned if report else None,
            "curve": _curve(self.curve(run_id)),
        }

    def status(self, run_id: str) -> dict[str, Any]:
        """State, message and step counts of a run, and :meth:`result`'s keys.

        Raises:
            InputError, NotFoundError, RecipeError: as :meth:`result`.
        """
        return {**counts(self._runs.status(run_id)), **self.result(run_id)}

    # -- the loop -----------------------------------------------------------------------------------------------------

    def count(self) -> VoteCount:
        """How far the votes are, and how many decided pairs are new since the newest run on votes, of whatever method."""
        decisions, lost = _decided(self._votes.ballots())
        last = last_run_on_votes(self._runs)
        decided = new_decided_since(None, decisions)
        new = new_decided_since(last[1] if last else None, decisions)
        return VoteCount(decided, new, lost, last[0].title if last else "")

    def retrain(self) -> str:
        """Start a reward run on the votes as they are now, with the base and settings of the newest reward run on votes
        (without one: the base that forms begin with, and the preset that suits it).

        Raises:
            DatasetError: the votes decide no pair.
            RecipeError, ModelLoadError: as :meth:`start`.
        """
        return self.start(self.again())

    def again(self) -> RewardForm:
        """The form :meth:`retrain` starts."""
        for view in self.list():
            recipe = RewardRecipe.of(view.recipe)
            voted = votes_of_id(recipe.dataset_id)
            if voted and not voted[1]:
                return RewardForm(
                    base=recipe.base.id,
                    votes=True,
                    room=voted[0],
                    support_ratio=recipe.support_ratio,
                    preset=recipe.preset,
                    lora=recipe.lora,
                    settings=recipe.settings,
                )
        base = self._models.default_base()
        return RewardForm.from_preset(base, self.preset_for(base), votes=True)

    def dpo_on_votes(self, share: float, base: str = "embedded", progress: Progress | None = None) -> str:
        """Keep the votes of all rooms as a dataset and start a DPO run on it, in which ``share`` of the pairs prefer the answer that was
        voted for, the rest the other one; the run id.

        Raises:
            DatasetError: the votes decide no pair.
            RecipeError, InputError, ModelLoadError: as ``AlignService.start``.
        """
        if not 0 <= share <= 1:
            raise RecipeError(f"share kept as voted is {share}; it must be between 0 and 1.")
        info = self._models.info(base)
        rooms = self._votes.ballots()
        made = preference_dataset(_decided(rooms)[0], source=votes_source(rooms))
        dataset = keep_votes_as_dataset(self._datasets, made)
        data = {"dataset_id": dataset.id, "support_ratio": share, "data_size": len(dataset.pairs)}
        form = AlignForm.from_preset(base, info.preset, **data)
        return self._align.start(form, progress)

    # -- within -------------------------------------------------------------------------------------------------------

    def _voted(self, room: str) -> tuple[PreferenceDataset, LeftOut, dict[str, str]]:
        rooms = self._votes.ballots(None if room == ALL_ROOMS else room)
        decisions, lost = _decided(rooms)
        made = preference_dataset(decisions, "", votes_id(room), votes_source(rooms))
        if not made.pairs:
            raise DatasetError("The votes decide pairs of one prompt only; rate pairs of other prompts too.")
        tallies = {decision.pair.id: tally(decision) for decision in decisions if decision.winner}
        return made, lost, tallies


def _decided(rooms: Sequence[Ballots]) -> tuple[tuple[Decision, ...], LeftOut]:
    """What the votes of each room come to by its own rules, and what of them makes no pair."""
    each = [(decide(ballots), ballots.min_votes) for ballots in rooms]
    return tuple(itertools.chain.from_iterable(decisions for decisions, _ in each)), sum(
        (left_out(*one) for one in each), LeftOut()
    )


def base_id(typed: str) -> str:
    """A base model's id as the catalogue knows it; the course's short name is understood."""
    return _ALIASES.get(typed.strip(), typed.strip())


def _accuracy(report: RewardReport | None) -> dict[str, Any] | None:
    if report is None or not report.n:
        return None
    return {"k": report.hits, "n": report.n, "ties": report.ties, "low": report.low, "high": report.high}


def _curve(points: Sequence[CurvePoint]) -> dict[str, Any] | None:
    if not points:
        return None
    listed = [{"run": p.run_id, "rows": p.rows, "k": p.hits, "n": p.n, "low": p.low, "high": p.high} for p in points]
    return {"points": listed, "more_votes": more_votes(points)}
