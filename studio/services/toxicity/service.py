"""Toxicity scores: which scorers there are, who exactly each of them is, and scores of texts. Building it imports no torch.

One scorer is held at a time, loaded when first asked for and let go when another is wanted; questions wait in line, first in
first out, in a thread of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.config import Settings
from studio.domain.toxicity import ScorerInfo, ScorerSpec, TextScore
from studio.errors import InputError
from studio.services.runs.store import RunStore
from studio.services.toxicity.scorers import EMBEDDED, RUN, ScorerCatalogue

if TYPE_CHECKING:
    from studio.ml.scorers.protocol import Scorer
    from studio.services.models.service import ModelService, Progress

#: What people may send at once: texts, characters of one, and of all together.
MAX_TEXTS, MAX_TEXT_CHARACTERS, MAX_CHARACTERS = 2_000, 100_000, 5_000_000


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
        self._catalogue = ScorerCatalogue(settings, runs, models)
        self._threads = threads
        self._line = ThreadPoolExecutor(1, thread_name_prefix="toxicity")
        # below: only touched by the one thread of the line
        self._scorer: Scorer | None = None
        self._held: ScorerSpec | None = None

    # -- which ------------------------------------------------------------------------------------------------------------

    def choices(self) -> list[tuple[str, str]]:
        """(label, name) of the scorers on offer, the embedded one first. Needs no network."""
        return self._catalogue.choices()

    def ready(self, name: str) -> bool:
        """Whether this scorer can score now, without a download."""
        return self._catalogue.ready(name)

    def labels(self, name: str) -> tuple[str, ...]:
        """All labels of a classifier that is on this machine, whichever of them is toxic; empty for any other name."""
        return self._catalogue.labels(name)

    def spec(self, name: str) -> ScorerSpec:
        """A scorer with everything resolved; see :meth:`ScorerCatalogue.spec`."""
        return self._catalogue.spec(name)

    def downloadable(self, name: str) -> bool:
        """Whether this is the id of a Hub classifier that is not on this machine."""
        return self._catalogue.downloadable(name)

    def fetch(self, name: str, progress: Progress | None = None) -> None:
        """Download a Hub classifier unless it is here; see :meth:`ScorerCatalogue.fetch`."""
        self._catalogue.fetch(name, progress)

    # -- scores -----------------------------------------------------------------------------------------------------------

    def score(self, name: str, texts: Sequence[str], prompts: Sequence[str] | None = None) -> list[TextScore]:
        """Scores of texts a model wrote, in order. One without anything in it is not covered. ``prompts``, one a text, are
        what the texts answer: a reward run needs them, others do not look.

        Raises:
            StudioError: as :meth:`spec` and :func:`studio.ml.scorers.load.load_scorer`; a score that is no number.
        """
        return list(self.judge(name, texts, prompts).scores)

    def judge(self, name: str, texts: Sequence[str], prompts: Sequence[str] | None = None) -> TextScores:
        """As :meth:`score`, with who scored."""
        spec = self.spec(name)
        cleaned = [_well_formed(text) for text in texts]
        asked = None if prompts is None else [_well_formed(prompt) for prompt in prompts]
        scores = self._line.submit(self._score, spec, cleaned, asked).result()
        return TextScores(spec.info, tuple(cleaned), tuple(scores))

    def ask(
        self, name: str, texts: Sequence[str], prompts: Sequence[str] | None = None, what: str = "Text"
    ) -> TextScores:
        """Scores of texts that people sent, with who scored them; ``what`` names a text in messages ("Line").

        Raises:
            InputError: none or too many, one that is empty or too long (the message names its number); else as :meth:`score`.
        """
        check_texts(texts, what)
        return self.judge(name, texts, prompts)

    def release(self, run_id: str) -> None:
        """Let go of a reward run's model, if it is the one held. Does not wait for it."""
        self._line.submit(self._release, f"{RUN}{run_id}")

    def close(self) -> None:
        """Let go of the scorer and end the thread."""
        self._line.submit(self._release)
        self._line.shutdown()

    # -- in the line's thread -------------------------------------------------------------------------------------------

    def _score(self, spec: ScorerSpec, texts: list[str], prompts: list[str] | None) -> list[TextScore]:
        if spec.info.kind != EMBEDDED:  # that one needs no torch
            from studio.ml.models.loading import prepare_torch

            prepare_torch(self._threads())
        return self._loaded(spec).score(texts, prompts)

    def _loaded(self, spec: ScorerSpec) -> Scorer:
        if self._scorer is not None and self._held == spec:
            return self._scorer
        self._release()
        from studio.ml.scorers.load import load_scorer

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
