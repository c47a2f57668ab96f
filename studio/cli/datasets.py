"""``datasets``: what is here to train on, and how an imported dataset is deleted."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from studio.cli.common import Commands, command
from studio.services import Services
from studio.services.files.bin import KEPT_DAYS


def add(commands: Commands) -> None:
    """Register the command."""
    datasets = command(commands, "datasets", _list, "List the datasets; delete an imported one, or have it back.")
    datasets.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    actions = datasets.add_subparsers(metavar="ACTION")
    remove = command(actions, "remove", _remove, "Delete an imported dataset; runs keep their copy of it.")
    back = command(actions, "restore", _restore, f"Have a deleted dataset back, for {KEPT_DAYS} days.")
    for action in (remove, back):
        action.add_argument("id", metavar="DATASET", help="its id, the first column of the list")


def _list(services: Services, options: argparse.Namespace) -> int:
    infos = services.datasets.list()
    if options.json:
        print(json.dumps([asdict(info) for info in infos], ensure_ascii=False))
        return 0
    for info in infos:
        kinds = ((info.n_rated, "rated"), (info.n_pairs, "pairs"), (info.n_prompts, "prompts"))
        size = next((f"{count} {what}" for count, what in kinds if count), "")
        print(f"{info.id:<42} {size:>14}  {info.language or '-':<6} {info.source or '-':<24} {info.title}")
    return 0


def _remove(services: Services, options: argparse.Namespace) -> int:
    services.datasets.delete(options.id)
    print(f"{options.id} is deleted; datasets restore {options.id} brings it back.")
    return 0


def _restore(services: Services, options: argparse.Namespace) -> int:
    services.datasets.restore(options.id)
    print(f"{options.id} is back.")
    return 0
