"""Before/after evaluations: what is asked, a row, the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from studio.domain.chat import Sampling
from studio.domain.runs import BaseModelRef
from studio.domain.toxicity import ScorerInfo, TestPrompt, TextScore

EvaluationState = Literal["queued", "running", "done", "cancelled", "failed", "interrupted"]


@dataclass(frozen=True)
class EvaluationSpec:
    """What a before/after evaluation asks, fixed when it starts.

    Attributes:
        before: ``__base__`` or a run id; ``adapters``: the run ids compared with it; ``hashes``: the adapter hashes of
            ``before`` (empty for the base) and of each of ``adapters``, so that a retrained run is not mistaken for it.
        prompts: the questions, in order; ``samples`` answers are drawn for each with seeds ``sampling.seed + sample``, the
            same on both sides.
    """

    title: str
    base: BaseModelRef
    before: str
    adapters: tuple[str, ...]
    hashes: tuple[str, ...]
    scorer: ScorerInfo
    prompt_set: str
    prompts: tuple[TestPrompt, ...]
    samples: int
    sampling: Sampling
    system_prompt: str = ""


@dataclass(frozen=True)
class EvaluationRow:
    """One question answered before and after: paired by prompt, sample number and seed."""

    adapter: str
    prompt_id: str
    sample: int
    query: str
    response_before: str
    response_after: str
    before: TextScore
    after: TextScore

    @property
    def difference(self) -> float | None:
        """Reward after less reward before; positive is better. None unless both are covered."""
        if self.before.reward is None or self.after.reward is None:
            return None
        return self.after.reward - self.before.reward


@dataclass(frozen=True)
class Evaluation:
    """A before/after evaluation as stored. ``total`` rows are wanted; ``kept`` ones stay until deleted by hand."""

    id: str
    created: float
    updated: float
    state: EvaluationState
    message: str
    kept: bool
    total: int
    spec: EvaluationSpec
    rows: tuple[EvaluationRow, ...]
