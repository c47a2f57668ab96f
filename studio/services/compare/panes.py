"""What a pane can show and is asked, and how its answers are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from studio.domain.chat import Blend, Sampling
from studio.domain.data import Message
from studio.domain.runs import DpoRecipe
from studio.errors import InputError
from studio.services.runs.store import RunView


@dataclass(frozen=True)
class PaneChoice:
    """Something a pane can show.

    Attributes:
        id: :data:`studio.domain.chat.BASE` or the run id.
        run_id: None for the base.
        ratio: the run's support_ratio; None for the base and for uploaded adapters of unknown training.
        adapter_hash: first 12 hex digits of the sha256 of its weights; empty for the base.
        base: id of the base model it needs; empty for the base pane, which takes the base of the panes beside it.
        system_prompt: what the run was trained with.
        sampling: how its answers are drawn unless somebody says otherwise.
    """

    id: str
    label: str
    run_id: str | None
    ratio: float | None
    adapter_hash: str
    base: str
    system_prompt: str = ""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class PaneChat:
    """A pane (the base, a run or RUN@STEP) and its own conversation, the new question last (a system message may come first). ``seed`` None takes that
    of the sampling; ``strength`` is how strongly its adapter answers, alone or in a ``blend`` (see :mod:`studio.services.strength`)."""

    pane_id: str
    messages: tuple[Message, ...]
    seed: int | None = None
    strength: float = 1.0
    blend: Blend | None = None

    @property
    def adapters(self) -> tuple[str, ...]:
        """The base, or the runs whose adapters answer."""
        return (self.pane_id,) if self.blend is None else (self.pane_id, self.blend.run_id)


def check_sampling(sampling: Sampling) -> None:
    """Raises InputError, naming the value, where a sampling setting is out of range."""
    ranges = {
        "temperature": (0, 5),
        "max_new_tokens": (1, 4096),
        "seed": (0, 2**63 - 1),
        "repetition_penalty": (0.5, 2),
    }
    for name, (low, high) in ranges.items():
        value = getattr(sampling, name)
        if not low <= value <= high:
            raise InputError(f"{name} is {value}; it must be between {low} and {high}.")
    if not 0 < sampling.top_p <= 1:
        raise InputError(f"top_p is {sampling.top_p}; it must be above 0 and at most 1.")


def choice_of(run: RunView) -> PaneChoice:
    """A run with an adapter, as a pane offers it."""
    ratio = run.recipe.support_ratio if isinstance(run.recipe, DpoRecipe) else None
    kind = f"{ratio:g}" if ratio is not None else {"unknown": "uploaded"}.get(run.method, run.method)
    return PaneChoice(
        id=run.run_id,
        label=f"{run.title} · {kind} · {run.adapter_hash}",
        run_id=run.run_id,
        ratio=ratio,
        adapter_hash=run.adapter_hash,
        base=run.recipe.base.id,
        system_prompt=run.recipe.system_prompt,
        sampling=run.recipe.sampling,
    )


def behind(system_prompt: str, messages: Sequence[Message] = ()) -> tuple[Message, ...]:
    """``messages`` behind a system prompt; alone where that is empty."""
    said = system_prompt.strip()
    return (*([Message("system", said)] if said else []), *messages)


def row_seed(seed: int, index: int) -> int:
    """Another seed for each prompt, so that two prompts do not share their noise."""
    return (seed + 1_000_003 * (index + 1)) % 2**63
