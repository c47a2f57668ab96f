"""``export-votes`` and ``import-votes``: pairs and votes out of the store and into it; ``export-thumbs``: rated answers out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from studio.cli.common import Commands, add_room, command, warn
from studio.errors import NotFoundError
from studio.services import Services
from studio.services.files.atomic import replacing
from studio.services.files.disk import needs_room


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
    add_room(export, "whose votes to write")
    imported = command(
        commands,
        "import-votes",
        _import,
        "Import votes: an export of this studio, Argilla, Label Studio or arena records; nothing comes twice.",
    )
    imported.add_argument("path", type=Path, help="a folder, a zip, or a file of records")
    add_room(imported, "to import into")
    thumbs = command(
        commands,
        "export-thumbs",
        _export_thumbs,
        "Write the answers with a thumb as TRL's KTO takes them (prompt, completion, label); `align --data` trains on the file.",
    )
    thumbs.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="a .jsonl or .csv file; one of that name is replaced"
    )


def _export_thumbs(services: Services, options: argparse.Namespace) -> int:
    from studio.services.data.annotated.rated import count_thumbs, kto_file
    from studio.services.rating.thumbs import rated_answers

    out: Path = options.out
    rated, split = rated_answers(services.thumbs.all())
    data = kto_file(rated, out.suffix.lstrip(".").lower())
    if not out.parent.is_dir():
        raise NotFoundError(f"There is no folder {out.parent} to write into.")
    with needs_room("make room, then export again."), replacing(out) as file:
        file.write(data)
    warn([f"{split} answers have as many thumbs up as down and were left out."] if split else [])
    print(f"{out}: {count_thumbs(rated)}")
    return 0


def _export(services: Services, options: argparse.Namespace) -> int:
    from studio.services.votes.export import ExportOptions, export_votes

    wanted = ExportOptions(options.format, options.names, options.license)
    done = export_votes(services.rooms.rating(options.room).ballots(), options.out, wanted)
    print(f"{options.out}: {done}")
    return 0


def _import(services: Services, options: argparse.Namespace) -> int:
    from studio.services.votes.read_export import read_votes
    from studio.services.votes.restore import restore

    rating = services.rooms.rating(options.room)
    brought = read_votes(options.path, services.settings.max_upload_mb * 1_000_000)
    warn(brought.warnings)
    print(f"Read {brought.kind}.", file=sys.stderr)
    print(restore(rating, brought))
    return 0
