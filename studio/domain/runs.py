"""Runs: settings of the methods, the frozen recipe, the status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from studio.domain.detox import DetoxSettings

RunState = Literal["queued", "running", "stopping", "done", "stopped", "failed", "interrupted"]


#: The states in which a run will not move by itself any more.
FINAL_STATES: tuple[RunState, ...] = ("done", "stopped", "failed", "interrupted")


@dataclass(frozen=True)
class LoraSettings:
    """LoRA (Hu et al. 2021). ``target_modules`` is ``all-linear`` or comma-separated module names; ``layers`` is ``all``, a number of
    layers counted from the top, or a share of them (``1/3``)."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    target_modules: str = "all-linear"
    layers: str = "all"


@dataclass(frozen=True)
class DpoSettings:
    """Hyper-parameters of a DPO run (Rafailov et al. 2023). Presets live in ``services/recipes/presets.py``.

    ``max_seconds`` > 0 ends the run after that many seconds of training instead of after ``epochs``.
    ``label_smoothing`` is the assumed flip rate of the ``robust`` loss (Chowdhury et al. 2024).
    ``replay_weight`` > 0 adds that multiple of a language-model loss on the base's own answers (see ``ml/dpo/replay.py``).
    ``side_first``: answers of support/oppose data open with their side (see ``services/data/openings.py``).
    ``optimizer`` is ``adamw`` or ``paged_adamw_8bit`` (CUDA only; ``adamw`` is taken elsewhere and the run says so).
    """

    side_first: bool = False
    loss_type: str = "sigmoid"
    beta: float = 0.5
    label_smoothing: float = 0.0
    sft_weight: float = 0.0
    replay_weight: float = 0.0
    learning_rate: float = 2e-3
    epochs: float = 5.0
    max_seconds: float = 0.0
    batch_size: int = 8
    gradient_accumulation: int = 1
    warmup_ratio: float = 0.1
    scheduler: str = "linear"
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 512
    seed: int = 42
    load_in_4bit: bool = False
    probe_every: int = 5
    sample_every: int = 5


@dataclass(frozen=True)
class RewardSettings:
    """Hyper-parameters of a reward run: a scalar head on the base, trained with the Bradley-Terry loss
    ``-log sigmoid(reward(chosen) - reward(rejected))`` (Ouyang et al. 2022). Presets live in ``services/recipes/presets.py``.

    ``center_rewards`` > 0 adds that multiple of the squared sum of the two rewards (Eisenstein et al. 2023), which keeps
    them around zero. ``max_seconds`` as in :class:`DpoSettings`; ``probe_every`` is steps between two looks at the held-out
    pairs.
    """

    learning_rate: float = 1e-3
    epochs: float = 5.0
    max_seconds: float = 0.0
    batch_size: int = 8
    gradient_accumulation: int = 1
    warmup_ratio: float = 0.1
    scheduler: str = "linear"
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 512
    center_rewards: float = 0.01
    seed: int = 42
    load_in_4bit: bool = False
    probe_every: int = 5


@dataclass(frozen=True)
class BaseModelRef:
    """A base model as a run remembers it: ``id`` is ``embedded``, a hub id or a folder; ``fingerprint`` is the sha256 of
    its config and weight files (``revision`` of the hub where known), so an adapter is never put on another base."""

    id: str
    revision: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run, written once before its first step (``run.json``).

    Attributes:
        method: ``unknown`` for an uploaded adapter that came without a recipe: its ``support_ratio`` is NaN, its
            ``data_size`` 0, its dataset empty, and only ``lora`` of its settings is known.
        dpo, reward, detox: the settings of the run's method; the others are None (an uploaded adapter has ``dpo``).
        start_run, start_hash: run id and adapter hash of the adapter a detox run went on from; empty: from the base.
        rows_support: for each training row in order, whether *support* is the chosen side (the flip mask).
        row_ids: the pair ids of those rows, in order.
    """

    run_id: str
    title: str
    method: Literal["dpo", "reward", "detox", "unknown"]
    base: BaseModelRef
    dataset_id: str
    dataset_title: str
    dataset_hash: str
    dataset_kind: Literal["sides", "labels"]
    support_ratio: float
    data_size: int
    shuffle: bool
    system_prompt: str
    preset: str
    lora: LoraSettings
    dpo: DpoSettings | None
    row_ids: tuple[str, ...]
    rows_support: tuple[bool, ...]
    created: float
    versions: dict[str, str]
    reward: RewardSettings | None = None
    detox: DetoxSettings | None = None
    start_run: str = ""
    start_hash: str = ""
    schema: int = 1

    @property
    def dpo_settings(self) -> DpoSettings:
        """The settings of a DPO run (or what an uploaded adapter has in their place)."""
        assert self.dpo is not None, f"{self.run_id} is no DPO run"
        return self.dpo

    @property
    def reward_settings(self) -> RewardSettings:
        """The settings of a reward run."""
        assert self.reward is not None, f"{self.run_id} is no reward run"
        return self.reward

    @property
    def detox_settings(self) -> DetoxSettings:
        """The settings of a detox run."""
        assert self.detox is not None, f"{self.run_id} is no detox run"
        return self.detox

    @property
    def settings(self) -> DpoSettings | RewardSettings | DetoxSettings:
        """The settings of the run's method; they share the names of how the optimiser goes and where the run ends."""
        return self.detox_settings if self.method == "detox" else self.training

    @property
    def training(self) -> DpoSettings | RewardSettings:
        """The settings of a run that trains on pairs; they share the names of what every such training has."""
        return self.reward_settings if self.method == "reward" else self.dpo_settings


@dataclass(frozen=True)
class RunStatus:
    """The state of a run. ``status.json``, replaced atomically and only by the process that owns the run.

    ``pid`` with ``pid_started`` (process create time) tells a live owner from a reused number; ``heartbeat`` and
    ``updated`` are Unix seconds; ``seconds`` is the time worked on the run so far, from the start of its process (model
    loading, training, measuring), resumed parts summed. ``message`` is one plain sentence; for ``failed`` it says what
    to try.
    """

    state: RunState
    message: str = ""
    pid: int = 0
    pid_started: float = 0.0
    heartbeat: float = 0.0
    updated: float = 0.0
    step: int = 0
    total: int = 0
    seconds: float = 0.0
