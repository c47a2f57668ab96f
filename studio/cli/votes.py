"""``export-votes`` and ``import-votes``: pairs and votes out of the store and into it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from studio.cli.common import Commands, command, warn
from studio.services import Services


def add(commands: Commands) -> None:
    """Register the commands."""
    export = command(
        commands, "export-votes", _export, "Write votes, pairs and preferences with a dataset card into a folder."
    )
    export.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="a new or empty folder, or a former export"
    )
    export.add_argument("--format", default="both", metavar="FORMAT", help="jsonl, parquet or both (default: both)")
    export.add_argument("--names", action="store_true", help="add the raters' names; pseudonyms only by default")
    export.add_argument(
        "--license", default="", metavar="ID", help="for the card, as the Hub spells it: cc-by-4.0, mit"
    )
    imported = command(
        commands,
        "import-votes",
        _import,
        "Import votes: an export of this studio, Argilla, Label Studio or arena records; nothing comes twice.",
    )
    imported.add_argument("path", type=Path, help="a folder, a zip, or a file of records")


def _export(services: Services, options: argparse.Namespace) -> int:
    from studio.services.votes.export import ExportOptions, export_votes

    wanted = ExportOptions(options.format, options.names, options.license)
    done = export_votes(services.rating.ballots(), options.out, wanted)
    print(f"{options.out}: {done}")
    return 0


def _import(services: Services, options: argparse.Namespace) -> int:
    from studio.services.votes.read_export import read_votes
    from studio.services.votes.restore import restore

    brought = read_votes(options.path, services.settings.max_upload_mb * 1_000_000)
    warn(brought.warnings)
    print(f"Read {brought.kind}.", file=sys.stderr)
    print(restore(services.rating, brought))
    return 0
