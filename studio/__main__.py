"""The command line: ``python -m studio COMMAND``. The same services as the page, without it; the commands themselves are in
``studio/cli``.

What a person can mend ends as one line on stderr and exit code 2; results go to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from studio.cli import align, bases, compare, datasets, detox, imports, page, reward, runs, score, sweep, votes
from studio.config import load_settings
from studio.errors import StudioError
from studio.services import build_services
from studio.services.files.folders import add_demos, storage_sentence


class _Parser(argparse.ArgumentParser):
    """argparse with its complaints on one line."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(_complain(f"{self.prog}: {message} (see {self.prog} --help)"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0, 2 for what a person can mend, 130 for an interruption."""
    # Before torch is imported: idle OpenMP threads sleep instead of spinning on the cores a training run needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    try:
        settings = load_settings(ray_address=getattr(options, "ray", None))
        add_demos(settings)
        services = build_services(settings)
        try:
            return int(options.command(services, options))
        finally:
            services.compare.leave()
    except StudioError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        if sentence := storage_sentence(error):
            return _complain(sentence)
        raise


def _complain(sentence: str) -> int:
    print(" ".join(sentence.split()), file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m studio", description="Change what a language model prefers, and see it happen.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for module in (align, sweep, compare, detox, reward, score, runs, page, imports, bases, datasets, votes):
        module.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
