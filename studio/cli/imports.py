"""``import`` and ``import-pairs``: preference data, adapters and pairs to be rated, from files and the Hub."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from studio.cli.common import Commands, add_room, command, warn
from studio.domain.data import Message
from studio.errors import InputError
from studio.services import Services
from studio.services.data.datasets import ImportParts, counted
from studio.services.data.formats import ACCEPTED
from studio.services.data.row_reader import ReadOptions
from studio.services.hub import is_hub_id
from studio.services.wording import listed, shortened

#: Characters of a text in the preview of the first row.
_SHOWN = 160
#: Rows of a dataset on the Hub that are read for a preview alone.
_PREVIEWED = 100


def add(commands: Commands) -> None:
    """Register the commands."""
    imported = command(
        commands,
        "import",
        _import,
        "Import preference data from a file or the Hub, or an adapter from a zip or folder. What the data was read as and its "
        "first row are shown.",
    )
    imported.add_argument(
        "file", metavar="FILE|HUB-ID", help=f"{ACCEPTED}; owner/name on the Hub; for an adapter a zip or a folder"
    )
    imported.add_argument("--base", default="", help="base model of an adapter that does not say it")
    imported.add_argument(
        "--checkpoint", default="", help="folder of the adapter where there are several in it (default: the newest)"
    )
    imported.add_argument("--test-prompts", type=Path, metavar="FILE", help="a file of test prompts")
    imported.add_argument("--title", help="its name (default: from the file's name)")
    imported.add_argument(
        "--heldout", type=float, default=0.0, metavar="SHARE", help="share of the prompts to hold out (default: 0)"
    )
    imported.add_argument("--heldout-file", type=Path, metavar="FILE", help="a file of pairs to hold out")
    _add_reading(imported)
    imported.add_argument(
        "--skip-broken", action="store_true", help="leave out rows that cannot be read, and say how many and why"
    )

    pairs = command(
        commands,
        "import-pairs",
        _import_pairs,
        "Import pairs of answers to be rated, from a file or the Hub; rows that cannot be used are left out and named.",
    )
    pairs.add_argument("file", metavar="FILE|HUB-ID", help=f"{ACCEPTED}; or owner/name on the Hub")
    _add_reading(pairs)
    add_room(pairs, "whose raters get them")


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """How a file is read, whatever becomes of it."""
    parser.add_argument("--preview", action="store_true", help="show what it would be read as, and keep nothing")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="ROLE=FIELD",
        help="a field by hand: prompt=question, chosen=good, rejected=bad, system=role; within an object by path (prompt.text); "
        "prompt= where it is what both answers begin with",
    )
    parser.add_argument(
        "--strip-templates",
        action="store_true",
        help="take out chat templates and special tokens that texts already hold",
    )
    parser.add_argument("--split", default="train", help="of a dataset on the Hub (default: train)")
    parser.add_argument("--limit", type=int, metavar="N", help="rows at most, of a dataset on the Hub (default: all)")


def reading(options: argparse.Namespace) -> ReadOptions:
    """What the flags say of how to read a file.

    Raises:
        InputError: ``--map`` is not of the form role=field.
    """
    mapping = {}
    for text in options.map:
        role, sign, field = text.partition("=")
        if not sign or not role.strip():
            raise InputError(f"--map is {text!r}; write ROLE=FIELD, such as prompt=question.")
        mapping[role] = field
    return ReadOptions(mapping, getattr(options, "skip_broken", False), options.strip_templates)


def _hub_id(text: str) -> str:
    """``text`` where it is the id of a dataset on the Hub and no file here; else empty."""
    path = Path(text)
    return text if is_hub_id(text) and not path.exists() and not path.suffix else ""


def _import(services: Services, options: argparse.Namespace) -> int:
    path, hub = Path(options.file), _hub_id(options.file)
    if path.suffix.lower() == ".zip" or path.is_dir():
        import_from = services.library.import_folder if path.is_dir() else services.library.import_zip
        done = import_from(path, options.base, options.checkpoint)
        warn(done.warnings)
        if done.left_out:
            print(f"left out: {listed(done.left_out)}", file=sys.stderr)
        print(f"{done.run_id}: adapter of {done.base.id}")
        return 0
    how, data = reading(options), services.datasets
    if options.preview:
        most = min(options.limit or _PREVIEWED, _PREVIEWED)
        seen = data.preview_hub(hub, options.split, most, options=how) if hub else data.preview_file(path, how)
        print(seen, file=sys.stderr)
        _show(seen.history, seen.prompt, seen.answers)
        warn((*seen.warnings, *seen.broken))
        return 0
    parts = ImportParts(options.test_prompts, options.heldout_file, options.title, options.heldout)
    if hub:
        report = data.import_hub(hub, options.split, options.limit, parts, options=how)
    else:
        report = data.import_file(path, parts, how)
    if report.seen:
        print(report.seen, file=sys.stderr)
        _show(report.seen.history, report.seen.prompt, report.seen.answers)
    warn(report.warnings)
    print(f"{report.dataset.id}: {counted(report.dataset)}")
    return 0


def _import_pairs(services: Services, options: argparse.Namespace) -> int:
    path, hub, how = Path(options.file), _hub_id(options.file), reading(options)
    sources, room = services.sources, services.rooms.find(options.room).code
    most = min(options.limit or _PREVIEWED, _PREVIEWED)
    seen = sources.preview_hub(hub, options.split, most, how) if hub else sources.preview_file(path, how)
    print(seen, file=sys.stderr)
    for pair in seen.comparisons.pairs[:1]:
        names = ("preferred", "not preferred") if pair.preferred else ("one answer", "another")
        _show(pair.history, pair.prompt, tuple(zip(names, (pair.answer_a, pair.answer_b), strict=True)))
    if options.preview:
        warn((*seen.comparisons.skipped, *seen.comparisons.warnings))
        return 0
    done = (
        sources.import_hub(hub, options.split, options.limit, how, room)
        if hub
        else sources.import_file(path, how, room)
    )
    warn((*done.skipped, *done.warnings))
    print(
        f"{done.added} pairs added, {done.known} known already, {done.identical} with identical answers, {len(done.skipped)} "
        "left out"
    )
    return 0


def _show(history: Sequence[Message], prompt: str, answers: Sequence[tuple[str, str]]) -> None:
    """The first row on stderr, each text on one line."""
    earlier = [(turn.role, turn.content) for turn in history]
    for name, text in (*earlier, ("prompt", prompt), *answers):
        line = "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
        print(f"  {name.lower()}: {shortened(line, _SHOWN)}", file=sys.stderr)
