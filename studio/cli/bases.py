"""``bases``: which bases there are, fetch one, remove one."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from studio.cli.common import Commands, command
from studio.domain.bases import EMBEDDED
from studio.services import Services


def add(commands: Commands) -> None:
    """Register the commands."""
    bases = command(commands, "bases", _list, "List the base models; fetch one or remove one.")
    bases.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    actions = bases.add_subparsers(metavar="ACTION")
    get = command(actions, "get", _get, "Fetch a base, or convert a GGUF file.")
    get.add_argument("name", metavar="NAME", help="a listed name, a Hub id, or a GGUF file")
    get.add_argument("--accept-terms", action="store_true", help="accept the terms of use of a base that has some")
    get.add_argument("--json", action="store_true", help="the base as one JSON object")
    remove = command(actions, "remove", _remove, "Delete a base that was fetched or converted.")
    remove.add_argument("name", metavar="NAME", help="a listed name or a Hub id")


def _list(services: Services, options: argparse.Namespace) -> int:
    listed = services.models.catalogue()
    if options.json:
        print(json.dumps([asdict(info) for info in listed], ensure_ascii=False))
        return 0
    default = services.models.default_base()
    for info in listed:
        size = "here" if info.cached else f"{info.download_mb:,} MB" if info.download_mb else "-"
        mark = "*" if info.id == default else " "
        print(f"{mark} {info.id:<42} {size:>9}  {info.licence or '-':<22} {info.languages or '-'}")
        print(f"    {info.title}; from: {', '.join(info.sources) or 'the studio'}")
    print("* is what forms begin with (STUDIO_BASE)", file=sys.stderr)
    return 0


def _get(services: Services, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    if options.name != EMBEDDED:
        print(services.models.ask_hub(options.name).needs, file=sys.stderr)
    with tqdm(total=100, unit="%", file=sys.stderr, dynamic_ncols=True, bar_format="{desc} {bar} {n:3.0f} %") as bar:

        def show(fraction: float, text: str) -> None:
            if text != bar.desc:
                bar.n = 100 * fraction
                bar.set_description_str(text)

        ref, folder = services.models.resolve(options.name, show, accept_terms=options.accept_terms)
    if options.json:
        print(json.dumps({**asdict(ref), "folder": str(folder)}, ensure_ascii=False))
    else:
        print(f"{ref.id}: {folder}")
    return 0


def _remove(services: Services, options: argparse.Namespace) -> int:
    services.models.remove(options.name)
    print(f"{options.name} is removed.")
    return 0
