"""Who stands in the panes: their runs and bases, and why one cannot answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from studio.domain.chat import is_base, named_base
from studio.errors import StudioError
from studio.services import Services
from studio.services.lineage.steps import run_of, steps_of
from studio.services.lineage.vector import is_vector
from studio.services.runs.store import RunView
from studio.ui.compare.talk import Pane, Talk


def runs_of(services: Services, talk: Talk) -> dict[str, RunView | None]:
    """The runs of the panes in their order; None for a base and for runs that are gone."""
    runs: dict[str, RunView | None] = {}
    for choice in (choice for pane in talk.panes for choice in pane.adapters):
        try:
            runs[choice] = None if is_base(choice) else services.runs.get(run_of(choice))
        except StudioError:
            runs[choice] = None
    return runs


@dataclass(frozen=True)
class Cast:
    """Who stands in the panes of a talk: their ``runs``, why one of them or a base cannot answer (``troubles``), and the base that the plain
    base pane shows (``shared``): that of the first adapter, or the one chosen below where there is none."""

    runs: Mapping[str, RunView | None]
    troubles: Mapping[str, str]
    shared: str

    def base_in(self, choice: str) -> str:
        """The base that answers where ``choice`` stands."""
        run = self.runs.get(choice)
        return run.recipe.base.id if run is not None else named_base(choice) or self.shared

    def trouble_of(self, pane: Pane) -> str:
        """Why a pane cannot answer; empty where it can."""
        run = self.runs[pane.choice]
        if pane.choice not in self.troubles and run is not None:
            if pane.step is not None and pane.step not in steps_of(run):
                return f"Step {pane.step} of this run is not kept any more; choose another under More."
            if pane.step is None and not run.has_adapter and not is_vector(pane.choice):
                return f"This run is {run.status.state}; choose one of its steps under More."
        return next((self.troubles[choice] for choice in pane.adapters if choice in self.troubles), "")


def cast_of(services: Services, talk: Talk, model: str) -> Cast:
    """The panes as they stand now; ``model`` is the base that was chosen below them."""
    runs = runs_of(services, talk)
    troubles = {choice: _trouble(services, choice, run) for choice, run in runs.items() if not is_base(choice)}
    shared = next((run.recipe.base.id for choice, run in runs.items() if run and not troubles[choice]), model)
    cast = Cast(runs, {}, shared)
    for choice in runs:
        troubles[choice] = troubles.get(choice) or _trouble_of_base(services, cast.base_in(choice))
    return replace(cast, troubles={choice: trouble for choice, trouble in troubles.items() if trouble})


def _trouble(services: Services, choice: str, run: RunView | None) -> str:
    """Why a run cannot answer at any step; empty where it can."""
    if run is None:
        return "This run was deleted."
    if not run.has_adapter and not steps_of(run) and not is_vector(choice):
        return f"This run has no adapter yet; it is {run.status.state}."
    return "" if _fits(services, run) else "It was trained on another state of its base model; train it anew."


def _trouble_of_base(services: Services, base: str) -> str:
    """Why a base cannot answer; empty where it can."""
    if why := services.compare.voices.closed(base):
        return why
    try:
        if not services.models.info(base).cached:
            return f"{base} is not on this machine yet; load it first, under Base model."
    except StudioError as error:
        return str(error)
    sentence, fits = services.compare.voices.room(base)
    return "" if fits else sentence


def _fits(services: Services, run: RunView) -> bool:
    """Whether the base here is the one a run was trained on; taken as so where that cannot be told without loading it."""
    base = run.recipe.base
    try:
        here = services.models.resolve(base.id)[0].fingerprint if services.models.info(base.id).cached else ""
    except StudioError:  # the base is gone; asking will say so
        return True
    return not (here and base.fingerprint) or here == base.fingerprint
