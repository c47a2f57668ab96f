"""``page``: a run, an evaluation, a result of votes or a comparison as one static page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from studio.cli.common import Commands, command
from studio.errors import InputError
from studio.services import Services


def add(commands: Commands) -> None:
    """Register the command."""
    page = command(commands, "page", _page, "Write one static HTML page: no server, no request.")
    page.add_argument("--run", help="a DPO or KTO run; with --comparison the run whose adapter answered")
    page.add_argument("--evaluation", metavar="ID", help="a before/after evaluation")
    page.add_argument("--votes", metavar="ID", help="a kept result of votes")
    page.add_argument(
        "--comparison", type=Path, metavar="FILE", help="a before/after table, *.json, as compare writes it"
    )
    page.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write, *.html")
    page.add_argument(
        "--words",
        action="store_true",
        help="with the words that moved in the answers of a run or a comparison (loads the model)",
    )


def _page(services: Services, options: argparse.Namespace) -> int:
    from studio.services.files.folders import check_file

    named = [name for name in ("evaluation", "votes", "comparison") if getattr(options, name)]
    if len(named) + bool(options.run and named != ["comparison"]) != 1:
        raise InputError("A page shows one thing; give --run, --evaluation, --votes or --comparison.")
    if options.words and not options.run:
        raise InputError("--words needs --run: the run whose adapter answered.")
    check_file("--out", options.out)
    write = {"evaluation": _evaluation, "votes": _votes, "comparison": _comparison}.get("".join(named), _run)
    options.out.write_text(write(services, options), encoding="utf-8")
    print(f"Wrote {options.out}.", file=sys.stderr)
    return 0


def _run(services: Services, options: argparse.Namespace) -> str:
    from studio.services.pages.run import run_page
    from studio.services.words import explain

    samples = services.runs.samples(options.run) if options.words else []
    last = max((sample.step for sample in samples), default=0)
    moved = [
        (sample.prompt, explain(services.compare, services.runs, options.run, sample.prompt, sample.answer))
        for sample in samples
        if sample.step == last and sample.answer.strip()
    ]
    return run_page(services.runs, options.run, moved)


def _evaluation(services: Services, options: argparse.Namespace) -> str:
    from studio.services.pages.evaluation import evaluation_page

    return evaluation_page(services.runs, services.evaluations.get(options.evaluation))


def _votes(services: Services, options: argparse.Namespace) -> str:
    from studio.services.pages.votes import votes_page
    from studio.services.votes.kept import kept_votes

    return votes_page(kept_votes(services.rating, options.votes))


def _comparison(services: Services, options: argparse.Namespace) -> str:
    from studio.services.pages.comparison import comparison_page, moved_in, read_comparison

    run = services.runs.get(options.run) if options.run else None
    try:
        made = read_comparison(options.comparison, run.title if run else "")
    except FileNotFoundError:
        raise InputError(f"--comparison is {str(options.comparison)!r}; there is no such file.") from None
    words = moved_in(services.compare, services.runs, options.run, made.rows) if options.words else ()
    return comparison_page(made, words)
