"""``runs``: what is there."""

from __future__ import annotations

import argparse
import json
import sys
import time

from studio.cli.common import Commands, command, warn
from studio.domain.runs import PairRecipe
from studio.services import Services
from studio.services.runs.store import RunView


def add(commands: Commands) -> None:
    """Register the command."""
    runs = command(commands, "runs", _runs, "List the runs, newest first.")
    runs.add_argument("--json", action="store_true", help="one JSON array instead of a table")


def _runs(services: Services, options: argparse.Namespace) -> int:
    views = services.runs.list()
    warn([f"{run.name} is left out: {run.reason}" for run in services.runs.damaged()])
    if options.json:
        records = [
            {
                "run": v.run_id,
                "state": v.status.state,
                "title": v.title,
                "base": v.recipe.base.id,
                "dataset": v.recipe.dataset_id,
                "method": v.method,
                "support_ratio": v.recipe.support_ratio if isinstance(v.recipe, PairRecipe) else None,
                "data_size": v.recipe.data_size,
                "measured": _measured(v),
                "created": v.recipe.created,
                "folder": str(v.folder),
            }
            for v in views
        ]
        print(json.dumps(records, ensure_ascii=False))
        return 0
    if not views:
        print("No runs yet.", file=sys.stderr)
    for v in views:
        share = _measured(v)
        measured = "-" if share is None else f"{share:.0%}"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(v.recipe.created))
        ratio = f"{v.recipe.support_ratio:<4g}" if isinstance(v.recipe, PairRecipe) else "-   "
        print(
            f"{v.run_id:<52} {v.status.state:<12} {when}  {v.method:<7} ratio {ratio} n {v.recipe.data_size:<4} "
            f"measured {measured:<5} {v.recipe.base.id}  {v.title}"
        )
    return 0


def _measured(view: RunView) -> float | None:
    """The support share of an adapter, the held-out accuracy of a reward model; None where it was not measured."""
    if view.method == "reward":
        return view.reward.hits / view.reward.n if view.reward and view.reward.n else None
    share = view.adapter_share
    return share.share if share and share.n else None
