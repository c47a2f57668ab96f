"""``page``: a run as one static page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from studio.cli.common import Commands, command
from studio.services import Services


def add(commands: Commands) -> None:
    """Register the command."""
    page = command(commands, "page", _page, "Write a DPO run as one static HTML page: no server, no request.")
    page.add_argument("--run", required=True, help="the run")
    page.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write, *.html")
    page.add_argument(
        "--words", action="store_true", help="with the words that moved in its last answers (loads the model)"
    )


def _page(services: Services, options: argparse.Namespace) -> int:
    from studio.services.files.folders import check_file
    from studio.services.pages.run import run_page
    from studio.services.words import explain

    check_file("--out", options.out)
    samples = services.runs.samples(options.run) if options.words else []
    last = max((sample.step for sample in samples), default=0)
    moved = [
        (sample.prompt, explain(services.compare, services.runs, options.run, sample.prompt, sample.answer))
        for sample in samples
        if sample.step == last and sample.answer.strip()
    ]
    options.out.write_text(run_page(services.runs, options.run, moved), encoding="utf-8")
    print(f"Wrote {options.out}.", file=sys.stderr)
    return 0
