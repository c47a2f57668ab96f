"""A run as it stands, and a folder that cannot be read as one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.domain.events import (
    DetoxEvent,
    DetoxReport,
    ProbeEvent,
    RewardReport,
    StepEvent,
    SupportShare,
    WeightChange,
)
from studio.domain.runs import Recipe, RunStatus


@dataclass(frozen=True)
class RunView:
    """A run as it stands now.

    Attributes:
        status: the effective status: a run whose owner is dead reads ``interrupted``, one asked to stop ``stopping``.
        last_step: newest optimiser step, ``detox_step`` that of a detox run; ``probe`` the newest stance probe; all None
            before the first.
        base_share: measured support share of what the run started from, the base or base and an adapter (``start_name``);
            ``adapter_share`` that of the adapter; None until measured.
        vector_shares: of the steering vector of its pairs, strength and measured share; empty until somebody asks for them.
        reward: how a reward run does on pairs it never saw; None for others and until measured.
        detox: how a detox run does on prompts it never saw; likewise.
        change: how far the adapter is from its start; None until it is saved, and for runs of older versions.
        adapter_hash: first 12 hex digits of the sha256 of ``adapter_model.safetensors``; empty without one.
        size_bytes: all files of the folder.
    """

    run_id: str
    folder: Path
    recipe: Recipe
    status: RunStatus
    title: str
    note: str
    last_step: StepEvent | None
    probe: ProbeEvent | None
    base_share: SupportShare | None
    adapter_share: SupportShare | None
    has_adapter: bool
    adapter_hash: str
    size_bytes: int
    reward: RewardReport | None = None
    detox_step: DetoxEvent | None = None
    detox: DetoxReport | None = None
    change: WeightChange | None = None
    vector_shares: tuple[tuple[float, SupportShare], ...] = ()

    @property
    def start_name(self) -> str:
        """What the run began with, in a word: the base, or its start where that is an adapter."""
        return "start" if self.recipe.start_run else "base"

    @property
    def method(self) -> str:
        """How it was trained: ``dpo``, ``reward``, ``detox``, or ``unknown`` for an imported adapter."""
        return self.recipe.method


@dataclass(frozen=True)
class DamagedRun:
    """A folder among the runs that cannot be read as one; ``reason`` is a sentence."""

    name: str
    reason: str
