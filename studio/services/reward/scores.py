"""Scores of answers by a reward model of this studio. Building it imports no torch.

One model is held at a time, loaded when first asked for and let go when another is wanted; questions wait in line, first in
first out, in a thread of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.config import Settings
from studio.domain.data import Message
from studio.domain.runs import RewardRecipe
from studio.errors import ConflictError, InputError
from studio.services.models.service import base_path
from studio.services.runs.store import RunStore, RunView

if TYPE_CHECKING:
    from studio.ml.reward.scorer import RewardScorer, Scored
    from studio.services.models.service import ModelService

#: What one call may ask for: answers, and characters of all texts together.
MAX_ITEMS, MAX_CHARACTERS = 256, 2_000_000


@dataclass(frozen=True)
class Verdict:
    """Two answers to one prompt. ``margin`` is the first's reward less the second's, ``probability`` = sigmoid(margin) that the
    first is preferred, as this model sees it."""

    first: Scored
    second: Scored
    margin: float
    probability: float


class ScoreService:
    """Score answers with reward runs. Safe to use from many threads.

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
        self._line = ThreadPoolExecutor(1, thread_name_prefix="scores")
        # below: only touched by the one thread of the line
        self._scorer: RewardScorer | None = None
        self._held: tuple[str, str] = ("", "")

    def choices(self) -> list[tuple[str, str]]:
        """(label, run id) of the reward runs that can score, newest first."""
        return [
            (f"{run.title} · trained on {run.recipe.data_size} · {run.adapter_hash}", run.run_id)
            for run in self._runs.list()
            if run.method == "reward" and run.has_adapter
        ]

    def score(self, run_id: str, items: Sequence[tuple[str, str]]) -> list[Scored]:
        """Reward of each (prompt, response), in order.

        Raises:
            InputError: an empty prompt or response, too much at once, or a response longer than the model reads.
            NotFoundError, RecipeError: no such run, or no reward run; ConflictError: it has no adapter yet.
            ModelLoadError: its base is not here or is another one.
        """
        for prompt, _ in items:
            if not prompt.strip():
                raise InputError("The prompt is empty; a reward is that of an answer to something.")
        return self.score_conversations(
            run_id, [(Message("user", prompt), Message("assistant", answer)) for prompt, answer in items]
        )

    def score_conversations(self, run_id: str, conversations: Sequence[Sequence[Message]]) -> list[Scored]:
        """As :meth:`score`, of whole conversations that end with the answer to score."""
        size = sum(len(turn.content) for turns in conversations for turn in turns)
        if not 1 <= len(conversations) <= MAX_ITEMS or size > MAX_CHARACTERS:
            raise InputError(
                f"{len(conversations)} answers with {size:,} characters were sent; 1 to {MAX_ITEMS} answers with "
                f"{MAX_CHARACTERS:,} characters in all can be scored at once."
            )
        run = self._runs.get_of(RewardRecipe, run_id)
        if not run.has_adapter:
            raise ConflictError(f"Run {run_id} has no adapter yet; it is {run.status.state}.")
        return self._line.submit(self._score, run, conversations).result()

    def compare(self, run_id: str, prompt: str, first: str, second: str) -> Verdict:
        """Which of two answers is likelier to be preferred.

        Raises:
            StudioError: as :meth:`score`.
        """
        one, two = self.score(run_id, [(prompt, first), (prompt, second)])
        return verdict_of(one, two)

    def release(self, run_id: str) -> None:
        """Let go of a run's model, if it is the one held. Does not wait for it."""
        self._line.submit(self._release, run_id)

    def close(self) -> None:
        """Let go of the model and end the thread."""
        self._line.submit(self._release, "")
        self._line.shutdown()

    # -- in the line's thread -------------------------------------------------------------------------------------------

    def _score(self, run: RunView, conversations: Sequence[Sequence[Message]]) -> list[Scored]:
        from studio.ml.models.loading import prepare_torch

        prepare_torch(self._threads())
        return self._loaded(run).scored(conversations)

    def _loaded(self, run: RunView) -> RewardScorer:
        wanted = (run.run_id, run.adapter_hash)
        if self._scorer is not None and self._held == wanted:
            return self._scorer
        self._release("")
        from studio.ml.reward.scorer import RewardScorer

        self._scorer = RewardScorer(
            base_path(self._models, run),
            run.folder,
            system_prompt=run.recipe.system_prompt,
            max_length=RewardRecipe.of(run.recipe).settings.max_length,
            device=self._settings.device,
            trust_remote_code=self._settings.trust_remote_code,
        )
        self._held = wanted
        return self._scorer

    def _release(self, run_id: str) -> None:
        """Let go of the model held, or of that run's only."""
        if self._scorer is not None and run_id in ("", self._held[0]):
            self._scorer.release()
            self._scorer = None


def verdict_of(first: Scored, second: Scored) -> Verdict:
    """What two rewards say of each other."""
    margin = first.reward - second.reward
    return Verdict(first, second, margin, sigmoid(margin))


def sigmoid(margin: float) -> float:
    """1 / (1 + exp(-margin)), without overflow."""
    return 1 / (1 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1 + math.exp(margin))


def ranking(rewards: Sequence[float]) -> list[int]:
    """Positions of the answers, highest reward first; equal ones in their order."""
    return sorted(range(len(rewards)), key=lambda index: -rewards[index])
