"""What a pane can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from studio.domain.chat import VECTOR, Sampling
from studio.domain.runs import DpoRecipe
from studio.i18n import Named
from studio.services.lineage.steps import steps_of
from studio.services.lineage.vector import can_steer
from studio.services.runs.store import RunView


@dataclass(frozen=True)
class PaneChoice:
    """Something a pane can show.

    Attributes:
        id: :data:`studio.domain.chat.BASE`, a :func:`studio.domain.chat.base_pane`, or the run id.
        run_id: None for a base.
        ratio: the run's support_ratio; None for the base and for uploaded adapters of unknown training.
        adapter_hash: first 12 hex digits of the sha256 of its weights; empty for the base.
        base: id of the base model it needs; empty for the plain base pane, which takes the base of the panes beside it.
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


def choice_of(run: RunView) -> PaneChoice:
    """A run with an adapter, as a pane offers it."""
    ratio = run.recipe.support_ratio if isinstance(run.recipe, DpoRecipe) else None
    kind = f"{ratio:g}" if ratio is not None else {"kto": "KTO"}.get(run.method, run.method)
    # said of an uploaded one as a whole, as votes keep the label and sentences name who is compared by it
    uploaded = f"{run.title} · uploaded · {run.adapter_hash}"
    return PaneChoice(
        id=run.run_id,
        label=uploaded if run.method == "unknown" else Named(run.title, kind, run.adapter_hash),
        run_id=run.run_id,
        ratio=ratio,
        adapter_hash=run.adapter_hash,
        base=run.recipe.base.id,
        system_prompt=run.recipe.system_prompt,
        sampling=run.recipe.sampling,
    )


def unfinished(runs: Sequence[RunView]) -> list[PaneChoice]:
    """Those of ``runs`` without an adapter of their own yet, of which steps can be asked, then the steering vectors of runs' pairs."""
    waiting = [run for run in runs if not run.has_adapter and steps_of(run)]
    return [
        *(replace(choice_of(run), label=Named(run.title, run.status.state)) for run in waiting),
        *(
            replace(
                choice_of(run), id=f"{run.run_id}@{VECTOR}", label=f"Steering vector of {run.title}", adapter_hash=""
            )
            for run in runs
            if can_steer(run)
        ),
    ]
