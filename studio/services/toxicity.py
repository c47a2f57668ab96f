"""Toxicity scores: which scorers there are, who exactly each of them is, and scores of texts. Building it imports no torch.

One scorer is held at a time, loaded when first asked for and let go when another is wanted; questions wait in line, first in
first out, in a thread of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studio.config import Settings
from studio.errors import ConflictError, InputError, ModelLoadError, StudioError
from studio.ml.classifier_labels import read_labels, read_names
from studio.services.reward import reward_run
from studio.services.runs import RunStore
from studio.services.scores import base_path
from studio.toxicity import ScorerInfo, ScorerSpec, TextScore

if TYPE_CHECKING:
    from studio.ml.scorers import Scorer
    from studio.services.models import ModelService, Progress

EMBEDDED = "embedded"
#: How the name of a reward run begins; the run id follows.
RUN = "run:"
#: What people may send at once: texts, characters of one, and of all together.
MAX_TEXTS, MAX_TEXT_CHARACTERS, MAX_CHARACTERS = 2_000, 100_000, 5_000_000
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


@dataclass(frozen=True)
class TextScores:
    """Texts with their scores, and whose scores they are."""

    info: ScorerInfo
    texts: tuple[str, ...]
    scores: tuple[TextScore, ...]


class ToxicityService:
    """Score texts. Safe to use from many threads.

    Args:
        threads: how many CPU threads may be used now; asked before each scoring.
    """

    def __init__(
        self, settings: Settings, runs: RunStore, models: ModelService, threads: Callable[[], int] = lambda: 0
    ) -> None:
        self._settings = settings
        self._runs = runs
        self._models = models
        self._threads = threads
        self._line = ThreadPoolExecutor(1, thread_name_prefix="toxicity")
        # below: only touched by the one thread of the line
        self._scorer: Scorer | None = None
        self._held: ScorerSpec | None = None

    # -- which ------------------------------------------------------------------------------------------------------------

    def choices(self) -> list[tuple[str, str]]:
        """(label, name) of the scorers on offer: the two classifiers of the Hub, those among the model folders, the reward runs.
        Any other classifier's Hub id is understood as well. Needs no network."""
        listed = [
            (offered.title if self.ready(name) else f"{offered.title} · not downloaded", name)
            for name, offered in _HUB.items()
        ]
        listed += [(f"{Path(name).name} (model folder)", name) for name in self._folders()]
        return listed + [
            (f"Reward run: {run.title} · {run.adapter_hash}", f"{RUN}{run.run_id}")
            for run in self._runs.list()
            if run.method == "reward" and run.has_adapter
        ]

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
        if name.startswith(RUN):
            return self._reward_spec(name.removeprefix(RUN))
        return self._classifier_spec(name)

    def fetch(self, name: str, progress: Progress | None = None) -> ScorerSpec:
        """Download a Hub classifier unless it is here, then as :meth:`spec`.

        Raises:
            StudioError: as :meth:`spec`; ModelLoadError where the hub cannot be reached or has no such model.
        """
        model_id = name.strip().partition("#")[0]
        if not model_id.startswith(RUN) and not self._is_here(model_id):
            self._models.resolve(model_id, progress)
        return self.spec(name)

    # -- scores -----------------------------------------------------------------------------------------------------------

    def score(self, name: str, texts: Sequence[str], prompts: Sequence[str] | None = None) -> list[TextScore]:
        """Scores of texts a model wrote, in order. One without anything in it is not covered. ``prompts``, one a text, are
        what the texts answer: a reward run needs them, others do not look.

        Raises:
            StudioError: as :meth:`spec` and :func:`studio.ml.scorers.load_scorer`; a score that is no number.
        """
        return list(self._scored(self.spec(name), texts, prompts).scores)

    def ask(
        self, name: str, texts: Sequence[str], prompts: Sequence[str] | None = None, what: str = "Text"
    ) -> TextScores:
        """Scores of texts that people sent, with who scored them; ``what`` names a text in messages ("Line").

        Raises:
            InputError: none or too many, one that is empty or too long (the message names its number); else as :meth:`score`.
        """
        check_texts(texts, what)
        return self._scored(self.spec(name), texts, prompts)

    def release(self, run_id: str) -> None:
        """Let go of a reward run's model, if it is the one held. Does not wait for it."""
        self._line.submit(self._release, f"{RUN}{run_id}")

    def close(self) -> None:
        """Let go of the scorer and end the thread."""
        self._line.submit(self._release)
        self._line.shutdown()

    def _scored(self, spec: ScorerSpec, texts: Sequence[str], prompts: Sequence[str] | None) -> TextScores:
        cleaned = [_well_formed(text) for text in texts]
        asked = None if prompts is None else [_well_formed(prompt) for prompt in prompts]
        scores = self._line.submit(self._score, spec, cleaned, asked).result()
        return TextScores(spec.info, tuple(cleaned), tuple(scores))

    # -- in the line's thread -------------------------------------------------------------------------------------------

    def _score(self, spec: ScorerSpec, texts: list[str], prompts: list[str] | None) -> list[TextScore]:
        from studio.ml.loading import prepare_torch

        prepare_torch(self._threads())
        return self._loaded(spec).score(texts, prompts)

    def _loaded(self, spec: ScorerSpec) -> Scorer:
        if self._scorer is not None and self._held == spec:
            return self._scorer
        self._release()
        from studio.ml.scorers import load_scorer

        self._scorer = load_scorer(
            spec, device=self._settings.device, trust_remote_code=self._settings.trust_remote_code
        )
        self._held = spec
        return self._scorer

    def _release(self, name: str = "") -> None:
        """Let go of the scorer held, or of that one only."""
        if self._scorer is not None and self._held is not None and name in ("", self._held.info.name):
            self._scorer.release()
            self._scorer = self._held = None

    # -- specs ------------------------------------------------------------------------------------------------------------

    def _reward_spec(self, run_id: str) -> ScorerSpec:
        run = reward_run(self._runs, run_id)
        if not run.has_adapter:
            raise ConflictError(f"Run {run_id} has no adapter yet; it is {run.status.state}.")
        info = ScorerInfo(
            f"{RUN}{run_id}",
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
            run.recipe.reward_settings.max_length,
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
        found = []
        for config in sorted(self._settings.models_dir.glob("*/config.json")):
            folder = config.parent.resolve()
            try:
                read_names(folder, folder.name)
            except ModelLoadError:
                continue
            found.append(str(folder))
        return found


def _is_path(model_id: str) -> bool:
    return model_id.startswith(("/", ".", "~"))


def _own_label(path: Path, model_id: str) -> int | None:
    """The label taken for toxic where nobody picks one; None where that cannot be told."""
    try:
        return read_labels(path, model_id).toxic
    except InputError:
        return None


def check_texts(texts: Sequence[str], what: str = "Text", numbers: Sequence[int] | None = None) -> None:
    """Refuse what cannot be scored; ``numbers`` are the texts' where they do not simply count from 1.

    Raises:
        InputError: none or too many, one that is empty or too long.
    """
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise InputError(f"There are {len(texts):,} texts to score; 1 to {MAX_TEXTS:,} can be scored at once.")
    for number, text in zip(numbers or range(1, len(texts) + 1), texts, strict=True):
        if not text.strip():
            raise InputError(f"{what} {number} is empty; there is nothing to score.")
        if len(text) > MAX_TEXT_CHARACTERS:
            raise InputError(
                f"{what} {number} has {len(text):,} characters; at most {MAX_TEXT_CHARACTERS:,} are scored. Shorten or split it."
            )
    if (total := sum(len(text) for text in texts)) > MAX_CHARACTERS:
        raise InputError(
            f"The texts have {total:,} characters together; at most {MAX_CHARACTERS:,} are scored at once. Send them in parts."
        )


def _well_formed(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can bring and no tokenizer takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
