"""Scores of texts and answers: by the scorers that ship, by classifiers, by reward runs. Building it imports no torch.

Two scorers are held at most: a reward run, and one that is none; each is loaded when first asked for and let go when another of
its kind is. Questions wait in line, first in first out, in a thread of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from studio.config import Settings
from studio.domain.toxicity import Context, Explanation, ScorerInfo, ScorerSpec, TextScore, reward_scorer
from studio.errors import InputError
from studio.services.runs.store import RunStore
from studio.services.scoring.scorers import EMBEDDED, WORD_LIST, ScorerCatalogue

if TYPE_CHECKING:
    from studio.ml.scorers.protocol import Scorer
    from studio.services.models.service import ModelService

#: Texts whose words are shown at once where every word has to be left out (any scorer but the embedded one).
MAX_EXPLAINED = 20
#: What people may send at once: texts, characters of one (or of a prompt), and of all together.
MAX_TEXTS, MAX_TEXT_CHARACTERS, MAX_CHARACTERS = 2_000, 100_000, 5_000_000


@dataclass(frozen=True)
class TextScores:
    """Texts with their scores, and whose scores they are."""

    info: ScorerInfo
    texts: tuple[str, ...]
    scores: tuple[TextScore, ...]


@dataclass(frozen=True)
class Verdict:
    """Two answers to one prompt. ``margin`` is the first's reward less the second's, ``probability`` = sigmoid(margin) that the
    first is preferred, as this scorer sees it."""

    first: TextScore
    second: TextScore
    margin: float
    probability: float


class ScoringService(ScorerCatalogue):
    """Score texts with any scorer of the catalogue. Safe to use from many threads.

    Args:
        threads: how many CPU threads may be used now; asked before each scoring.
    """

    def __init__(
        self, settings: Settings, runs: RunStore, models: ModelService, threads: Callable[[], int] = lambda: 0
    ) -> None:
        super().__init__(settings, runs, models)
        self._threads = threads
        self._queue = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        # only touched by the one thread of the queue; by whether it is a reward run
        self._held: dict[bool, tuple[ScorerSpec, Scorer]] = {}

    def score(self, name: str, texts: Sequence[str], prompts: Sequence[Context] | None = None) -> TextScores:
        """Scores of texts a model wrote, in order, with who scored. One without anything in it is not covered. ``prompts``, one a
        text, are what the texts answer, with or without the conversation before: a reward run needs them, others do not look.

        Raises:
            StudioError: as :meth:`spec` and :func:`studio.ml.scorers.load.load_scorer`; a score that is no number.
        """
        spec = self.spec(name)
        cleaned = tuple(_well_formed(text) for text in texts)
        contexts = None if prompts is None else [_well_formed_context(prompt) for prompt in prompts]
        scores = self._queue.submit(self._score, spec, cleaned, contexts).result()
        return TextScores(spec.info, cleaned, tuple(scores))

    def score_checked(
        self, name: str, texts: Sequence[str], prompts: Sequence[str] | None = None, what: str = "Text"
    ) -> TextScores:
        """As :meth:`score`, of texts that people sent; ``what`` names a text in messages ("Line").

        Raises:
            InputError: none or too many, one that is empty or too long (the message names its number); else as :meth:`score`.
        """
        check_texts(texts, what)
        for number, prompt in enumerate(prompts or (), 1):
            if len(prompt) > MAX_TEXT_CHARACTERS:
                raise InputError(
                    f"The prompt of {what.lower()} {number} has {len(prompt):,} characters; at most {MAX_TEXT_CHARACTERS:,} can "
                    "be scored at once. Shorten it."
                )
        return self.score(name, texts, prompts)

    def explain(self, name: str, scored: TextScores, prompts: Sequence[str] | None = None) -> list[Explanation | None]:
        """Which words carry each of these scores: exact for the embedded scorer, by leaving every word out for any other, which costs
        up to sixty scorings a text. None where a text is not covered. ``prompts`` as in :meth:`score`.

        Raises:
            StudioError: as :meth:`score`.
        """
        spec = self.spec(name)
        contexts = None if prompts is None else [_well_formed(prompt) for prompt in prompts]
        return self._queue.submit(self._explain, spec, scored, contexts).result()

    def compare(self, name: str, prompt: str, first: str, second: str) -> Verdict:
        """Which of two answers to a prompt is likelier to be preferred.

        Raises:
            InputError: an answer that the scorer does not cover; else as :meth:`score_checked`.
        """
        return verdict_of(*self.score_checked(name, (first, second), (prompt, prompt), "Answer").scores)

    def release(self, run_id: str) -> None:
        """Let go of a reward run's model, if it is the one held. Does not wait for it."""
        self._queue.submit(self._release, reward_scorer(run_id))

    def close(self) -> None:
        """Let go of the scorers and end the thread."""
        self._queue.submit(self._release)
        self._queue.shutdown()

    # -- in the queue's thread ------------------------------------------------------------------------------------------

    def _score(self, spec: ScorerSpec, texts: Sequence[str], contexts: Sequence[Context] | None) -> list[TextScore]:
        return self._ready(spec).score(texts, contexts)

    def _explain(
        self, spec: ScorerSpec, scored: TextScores, contexts: Sequence[Context] | None
    ) -> list[Explanation | None]:
        from studio.ml.scorers.embedded import EmbeddedScorer
        from studio.ml.scorers.left_out import left_out

        scorer = self._ready(spec)
        if isinstance(scorer, EmbeddedScorer):
            return scorer.explain(scored.texts)
        return left_out(scorer, scored.texts, scored.scores, contexts)

    def _ready(self, spec: ScorerSpec) -> Scorer:
        if spec.info.name not in (EMBEDDED, WORD_LIST):  # these need no torch
            from studio.ml.models.loading import prepare_torch

            prepare_torch(self._threads())
        return self._loaded(spec)

    def _loaded(self, spec: ScorerSpec) -> Scorer:
        from studio.ml.scorers.load import load_scorer

        reward = spec.info.kind == "reward"
        held, scorer = self._held.get(reward, (None, None))
        if scorer is None or held != spec:
            if scorer is not None:
                scorer.release()
                del self._held[reward]
            scorer = load_scorer(spec, device=self._settings.device, trust_remote_code=self._settings.trust_remote_code)
            self._held[reward] = spec, scorer
        return scorer

    def _release(self, name: str = "") -> None:
        """Let go of the scorers held, or of that one only."""
        for reward, (spec, scorer) in list(self._held.items()):
            if name in ("", spec.info.name):
                scorer.release()
                del self._held[reward]


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


def verdict_of(first: TextScore, second: TextScore) -> Verdict:
    """What two scores say of each other.

    Raises:
        InputError: one has no reward, since its text is not covered.
    """
    if first.reward is None or second.reward is None:
        raise InputError("This scorer does not cover one of the answers, so that they cannot be compared.")
    margin = first.reward - second.reward
    return Verdict(first, second, margin, sigmoid(margin))


def sigmoid(margin: float) -> float:
    """1 / (1 + exp(-margin)), without overflow."""
    return 1 / (1 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1 + math.exp(margin))


def ranking(scores: Sequence[TextScore]) -> list[int]:
    """Positions of the texts, highest reward first, those not covered last; equal ones in their order."""
    return sorted(range(len(scores)), key=lambda at: math.inf if (r := scores[at].reward) is None else -r)


def _well_formed(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can bring and no tokenizer takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _well_formed_context(context: Context) -> Context:
    if isinstance(context, str):
        return _well_formed(context)
    return tuple(replace(turn, content=_well_formed(turn.content)) for turn in context)
