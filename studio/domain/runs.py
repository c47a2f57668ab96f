"""Runs: the frozen recipe of each method, the status."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

from studio.domain.chat import Sampling
from studio.domain.detox import DetoxSettings
from studio.domain.settings import DpoSettings, KtoSettings, LoraSettings, PairSettings, RewardSettings
from studio.errors import RecipeError

RunState = Literal["queued", "running", "stopping", "done", "stopped", "failed", "interrupted"]


#: The states of a run that ended before its last step, and can go on.
RESUMABLE: tuple[RunState, ...] = ("stopped", "failed", "interrupted")
#: The states in which a run will not move by itself any more.
FINAL_STATES: tuple[RunState, ...] = ("done", *RESUMABLE)


@dataclass(frozen=True)
class BaseModelRef:
    """A base model as a run remembers it: ``id`` is ``embedded``, the name of a known base, a hub id or a folder;
    ``fingerprint`` is the sha256 of its config and weight files (``revision`` of the hub where known), so an adapter is never
    put on another base. ``frame`` names the frame in which a base without a chat template is asked, else it is empty."""

    id: str
    revision: str = ""
    fingerprint: str = ""
    frame: str = ""


@dataclass(frozen=True, kw_only=True)
class BaseRecipe:
    """What decides a run, whatever its method; written once before its first step (``run.json``).

    Attributes:
        dataset_id, dataset_title, dataset_hash: what it trains on. The title names every source; the id is empty where none
            of them is a dataset.
        row_ids: ids of the pairs or prompts it trains on, in order.
        sampling: how answers are drawn when the run is measured: as the chat draws those of this base.
        start_run, start_hash: run id and adapter hash of the adapter it goes on from, which is its reference and part of what it saves;
            empty: from the base.
        schema: of the file; ``services/runs/recipe_file.py`` reads older ones.
    """

    noun: ClassVar[str]

    run_id: str
    title: str
    base: BaseModelRef
    dataset_id: str
    dataset_title: str
    dataset_hash: str
    row_ids: tuple[str, ...]
    system_prompt: str
    preset: str
    lora: LoraSettings
    created: float
    versions: dict[str, str]
    sampling: Sampling = field(default_factory=Sampling)
    start_run: str = ""
    start_hash: str = ""
    schema: int = 2

    @property
    def data_size(self) -> int:
        """Pairs or prompts it trains on."""
        return len(self.row_ids)

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """A recipe as one of this class.

        Raises:
            RecipeError: it is of another method.
        """
        if not isinstance(recipe, cls):
            raise RecipeError(
                f"Run {recipe.run_id} is no {cls.noun} (its method is {recipe.method}); choose a {cls.noun}."
            )
        return recipe


@dataclass(frozen=True)
class LongRow:
    """A row that is left out of a run as too long: its place among the rows asked for (from 0), its pair, and why."""

    place: int
    pair_id: str
    why: str


@dataclass(frozen=True)
class RowsThatFit:
    """Which of the rows asked for fit into a run: the places of those ``kept``, those ``left_out``, and how many answers are ``cut`` at
    ``limit`` tokens."""

    kept: tuple[int, ...]
    left_out: tuple[LongRow, ...]
    cut: int
    limit: int

    def __str__(self) -> str:
        """What a person should know before the run; empty where every row fits."""
        parts = []
        if self.left_out:
            first = self.left_out[0]
            n, total = len(self.left_out), len(self.left_out) + len(self.kept)
            number = str(first.place + 1)
            which = f"row {number}{f' ({first.pair_id})' if first.pair_id != number else ''}: {first.why}"
            more = f"; and {n - 1} more" if n > 1 else ""
            parts.append(f"{n} of {total} rows {'is' if n == 1 else 'are'} too long and left out ({which}{more}).")
        if self.cut:
            parts.append(
                f"{self.cut} answers are cut at {self.limit:,} tokens; raise max_length, or leave their rows out."
            )
        return " ".join(parts)


@dataclass(frozen=True, kw_only=True)
class RowsRecipe(BaseRecipe):
    """A run on rows of preference data.

    Attributes:
        left_out: ids of the rows that were to be trained on and are too long; ``cut``: answers cut at the limit.
    """

    noun = "run on preference data"

    left_out: tuple[str, ...] = ()
    cut: int = 0
    settings: PairSettings


@dataclass(frozen=True, kw_only=True)
class PairRecipe(RowsRecipe):
    """A run on preference pairs.

    Attributes:
        rows_support: for each row, whether *support* is the chosen side (the flip mask).
    """

    noun = "run on preference pairs"

    dataset_kind: Literal["sides", "labels"]
    support_ratio: float
    rows_support: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class DpoRecipe(PairRecipe):
    """A DPO run; ``shuffle``: which rows support was drawn by lot."""

    noun = "DPO run"

    method: Literal["dpo"] = "dpo"
    shuffle: bool
    settings: DpoSettings


@dataclass(frozen=True, kw_only=True)
class KtoRecipe(RowsRecipe):
    """A KTO run on single answers with a thumb; ``rows_liked``: for each row, whether it is up."""

    noun = "KTO run"

    method: Literal["kto"] = "kto"
    rows_liked: tuple[bool, ...]
    settings: KtoSettings


#: A run that moves what a model answers, by pairs or by thumbs.
AlignRecipe = DpoRecipe | KtoRecipe


def align_recipe(recipe: Recipe) -> AlignRecipe:
    """A recipe as one of DPO or KTO.

    Raises:
        RecipeError: it is of another method.
    """
    if not isinstance(recipe, AlignRecipe):
        raise RecipeError(
            f"Run {recipe.run_id} is neither a DPO nor a KTO run (its method is {recipe.method}); choose one of those."
        )
    return recipe


@dataclass(frozen=True, kw_only=True)
class RewardRecipe(PairRecipe):
    """A reward run."""

    noun = "reward model"

    method: Literal["reward"] = "reward"
    settings: RewardSettings


@dataclass(frozen=True, kw_only=True)
class DetoxRecipe(BaseRecipe):
    """A detox run."""

    noun = "detox run"

    method: Literal["detox"] = "detox"
    settings: DetoxSettings


@dataclass(frozen=True, kw_only=True)
class ImportedRecipe(BaseRecipe):
    """An adapter that came without a recipe: of its settings only ``lora`` is known, and nothing of its data."""

    noun = "imported adapter"

    method: Literal["unknown"] = "unknown"
    settings: None = None


#: A recipe of any method; ``method`` tells which.
Recipe = DpoRecipe | KtoRecipe | RewardRecipe | DetoxRecipe | ImportedRecipe


@dataclass(frozen=True)
class RunStatus:
    """The state of a run. ``status.json``, replaced atomically and only by the process that owns the run.

    ``pid`` with ``pid_started`` (process create time) tells a live owner from a reused number; ``heartbeat`` and
    ``updated`` are Unix seconds; ``seconds`` is the time worked on the run so far, from the start of its process (model
    loading, training, measuring), resumed parts summed. ``message`` is one plain sentence; for ``failed`` it says what
    to try. ``restarts`` counts how often a cluster began the run again because its node or process was gone; ``lent``:
    its steps were taken on a GPU of ZeroGPU.
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
    restarts: int = 0
    lent: bool = False
