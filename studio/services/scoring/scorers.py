"""Which scorers there are, and who exactly each of them is: a name becomes a spec with everything resolved. Imports no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studio.config import Settings
from studio.domain.runs import RewardRecipe
from studio.domain.toxicity import RUN, ScorerInfo, ScorerSpec, reward_scorer
from studio.errors import ConflictError, InputError, ModelLoadError, StudioError
from studio.ml.scorers.labels import read_labels, read_names
from studio.services.models.service import base_path
from studio.services.runs.store import RunStore, RunView

if TYPE_CHECKING:
    from studio.services.models.service import ModelService, Progress

EMBEDDED, WORD_LIST = "embedded", "word-list"
_HASH = 12


@dataclass(frozen=True)
class _Offered:
    """A Hub classifier that is offered by name."""

    title: str
    measures: str
    languages: tuple[str, ...] = ("en",)


_HUB = {
    "facebook/roberta-hate-speech-dynabench-r4-target": _Offered(
        "Hate speech, RoBERTa (Dynabench R4)",
        "Hate against people for the group they belong to, in English. It does not look for rudeness or swearing as such.",
    ),
    "unitary/toxic-bert": _Offered(
        "Toxic comments, BERT (Jigsaw)",
        "Comments that raters of Wikipedia's talk pages found rude or hurtful, in English. The mere mention of a minority raises it.",
    ),
}


class ScorerCatalogue:
    """The scorers on offer. Safe to use from many threads."""

    def __init__(self, settings: Settings, runs: RunStore, models: ModelService) -> None:
        self._settings = settings
        self._runs = runs
        self._models = models

    def choices(self) -> list[tuple[str, str]]:
        """(label, name) of the scorers on offer: the two that ship with the studio, two classifiers of the Hub, those among the
        model folders, the reward runs. Any other classifier's Hub id is understood as well. Needs no network."""
        listed = [("Embedded: rudeness, English and Chinese", EMBEDDED), ("Word list: a second opinion", WORD_LIST)]
        offered = [(known.title, name) for name, known in _HUB.items()]
        listed += [(scorer if self.ready(name) else f"{scorer} · not downloaded", name) for scorer, name in offered]
        listed += [(f"{Path(name).name} (model folder)", name) for name in self._folders()]
        return listed + [
            (
                f"Reward run: {run.title} · trained on {run.recipe.data_size} · {run.adapter_hash}",
                reward_scorer(run.run_id),
            )
            for run in self._rewarding()
        ]

    def reward_runs(self) -> list[tuple[str, str]]:
        """(label, name) of the reward runs that can score, newest first."""
        return [
            (f"{run.title} · trained on {run.recipe.data_size} · {run.adapter_hash}", reward_scorer(run.run_id))
            for run in self._rewarding()
        ]

    def _rewarding(self) -> list[RunView]:
        return [run for run in self._runs.list() if run.method == "reward" and run.has_adapter]

    def ready(self, name: str) -> bool:
        """Whether this scorer can score now, without a download."""
        try:
            self.spec(name)
        except StudioError:
            return False
        return True

    def labels(self, name: str) -> tuple[str, ...]:
        """All labels of a classifier that is on this machine, whichever of them is toxic; empty for any other name."""
        try:
            model_id, path, _ = self._classifier(name.strip().partition("#")[0])
            return read_names(path, model_id)[0]
        except StudioError:
            return ()

    def spec(self, name: str) -> ScorerSpec:
        """A scorer with everything resolved. Needs no network.

        Raises:
            InputError: not the name of a scorer, or a classifier whose toxic label cannot be told.
            ModelLoadError: not downloaded, or its files are of another kind.
            NotFoundError, RecipeError, ConflictError: no such run, no reward run, or one without an adapter yet.
        """
        name = name.strip()
        if not name:
            raise InputError("There is no scorer chosen; choose one.")
        if name == EMBEDDED:
            return self._embedded_spec()
        if name == WORD_LIST:
            from studio.ml.scorers.word_list import word_list_info

            return ScorerSpec(word_list_info())
        if name.startswith(RUN):
            return self._reward_spec(name.removeprefix(RUN))
        return self._classifier_spec(name)

    def downloadable(self, name: str) -> bool:
        """Whether this is the id of a Hub classifier that is not on this machine."""
        name = name.strip().partition("#")[0]
        if not name or name in (EMBEDDED, WORD_LIST) or name.startswith(RUN) or _is_path(name):
            return False
        try:
            return not self._is_here(name)
        except StudioError:
            return False

    def fetch(self, name: str, progress: Progress | None = None) -> None:
        """Download a Hub classifier unless it is here; any other scorer is here or nowhere.

        Raises:
            InputError: not a scorer; ModelLoadError: the hub cannot be reached, or has no such model or none in safetensors.
        """
        if self.downloadable(name):
            self._models.resolve(name.strip().partition("#")[0], progress)

    # -- within -----------------------------------------------------------------------------------------------------------

    def _embedded_spec(self) -> ScorerSpec:
        from studio.ml.scorers.embedded import WEIGHTS, embedded_info

        folder = self._settings.data_dir / "toxicity"
        try:
            digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        except OSError as error:
            raise ModelLoadError(
                f"The embedded scorer is missing: {folder} has no {WEIGHTS}. Restore it from the repository."
            ) from error
        return ScorerSpec(embedded_info(digest), str(folder))

    def _reward_spec(self, run_id: str) -> ScorerSpec:
        run = self._runs.get_of(RewardRecipe, run_id)
        if not run.has_adapter:
            raise ConflictError(f"Run {run_id} has no adapter yet; it is {run.status.state}.")
        info = ScorerInfo(
            reward_scorer(run_id),
            "reward",
            f"Reward run: {run.title}",
            run.adapter_hash,
            f"What this run learned to prefer from {run.recipe.data_size} pairs, not toxicity: only the difference between answers to "
            "the same prompt means anything.",
        )
        return ScorerSpec(
            info,
            str(run.folder),
            str(base_path(self._models, run)),
            run.recipe.system_prompt,
            RewardRecipe.of(run.recipe).settings.max_length,
        )

    def _classifier_spec(self, name: str) -> ScorerSpec:
        typed, _, picked = name.partition("#")
        model_id, path, revision = self._classifier(typed)
        labels = read_labels(path, model_id, picked.strip())
        toxic = labels.names[labels.toxic]
        by_hand = bool(picked) and labels.toxic != _own_label(path, model_id)
        known = None if by_hand else _HUB.get(model_id)
        if known is None:
            title = Path(model_id).name if model_id.startswith("/") else model_id
            known = _Offered(
                title, f"What {title} calls “{toxic}”; its page says what it was trained on and where it errs.", ()
            )
        info = ScorerInfo(
            f"{model_id}#{toxic}" if by_hand else model_id,
            "classifier",
            known.title,
            revision,
            known.measures,
            known.languages,
            labels.names,
            toxic,
        )
        return ScorerSpec(info, str(path))

    def _classifier(self, model_id: str) -> tuple[str, Path, str]:
        """Id, folder and revision of a classifier on this machine."""
        if not self._is_here(model_id):
            raise ModelLoadError(
                f"{model_id} is not on this machine yet; download it first (the operator, in Toxicity; or python -m studio score "
                "--download)."
            )
        ref, path = self._models.resolve(model_id)
        return model_id, path, ref.revision or ref.fingerprint[:_HASH]

    def _is_here(self, model_id: str) -> bool:
        """Whether the classifier of that id is on this machine.

        Raises:
            InputError: it is no id of a classifier. A path is taken only where it is one of the listed folders: names come from
                visitors.
        """
        if _is_path(model_id):
            if model_id in self._folders():
                return True
            raise InputError(
                f"{model_id[:120]!r} is not one of the text classifiers in {self._settings.models_dir}; put its folder there."
            )
        try:
            return self._models.info(model_id).cached
        except InputError as error:
            raise InputError(
                f"{model_id[:120]!r} is not a scorer: write {EMBEDDED}, the id of a text classifier on the Hub like "
                f"organisation/name (organisation/name#label picks its toxic label), or {RUN} and the id of a reward run."
            ) from error

    def _folders(self) -> list[str]:
        """The text classifiers among the model folders, by full path."""
        folders = []
        for config in sorted(self._settings.models_dir.glob("*/config.json")):
            folder = config.parent.resolve()
            try:
                read_names(folder, folder.name)
            except ModelLoadError:
                continue
            folders.append(str(folder))
        return folders


def _is_path(model_id: str) -> bool:
    return model_id.startswith(("/", ".", "~"))


def _own_label(path: Path, model_id: str) -> int | None:
    """The label taken for toxic where nobody picks one; None where that cannot be told."""
    try:
        return read_labels(path, model_id).toxic
    except InputError:
        return None
