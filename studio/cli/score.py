"""``score``: how toxic each line of a file is."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from studio.cli.common import Commands, command, warn
from studio.domain.toxicity import RUN
from studio.errors import InputError, NotFoundError
from studio.services import Services

if TYPE_CHECKING:
    from studio.services.scoring.service import TextScores

_WIDTH = 72


def add(commands: Commands) -> None:
    """Register the command."""
    score = command(
        commands,
        "score",
        _score,
        "Score texts, one a line: how toxic each is, or with a reward run how much its answer is preferred.",
    )
    score.add_argument(
        "file", metavar="FILE", help="UTF-8 text, one text a line; - reads standard input; blank lines are left out"
    )
    score.add_argument(
        "--scorer",
        default="embedded",
        metavar="NAME",
        help="embedded, a text classifier on the Hub (org/model, or org/model#label to pick its toxic label), or run:RUN for a "
        "reward run, whose lines are the prompt, a tab, the answer (default: embedded)",
    )
    score.add_argument("--download", action="store_true", help="download the classifier first where it is not here")
    score.add_argument(
        "--json", action="store_true", help='print one JSON array: [{"text", "toxicity", "logits", "label"}, ...]'
    )


def _score(services: Services, options: argparse.Namespace) -> int:
    from studio.services.scoring.score_files import score_records
    from studio.services.scoring.service import check_texts

    lines = _lines(options.file, services.settings.max_upload_mb * 1_000_000)
    filled = {number: line for number, line in enumerate(lines, 1) if line.strip()}
    if not filled:
        raise InputError(f"{options.file} has no text in it; write one text a line.")
    prompts = None
    if options.scorer.strip().startswith(RUN):
        prompts, filled = _answers(filled)
    check_texts(list(filled.values()), "Line", list(filled))
    if blank := len(lines) - len(filled):
        warn([f"{blank} blank {'line was' if blank == 1 else 'lines were'} left out."])
    if options.download:
        services.scoring.fetch(options.scorer, lambda share, text: print(text, file=sys.stderr))
    found = services.scoring.score_checked(options.scorer, list(filled.values()), prompts, "Line")
    if options.json:
        told = json.dumps(score_records(found), ensure_ascii=False, allow_nan=False)
        # one line for every reader: some count these as ends of lines, and JSON leaves them as they are
        print(told.translate({code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}))
        return 0
    _print_table(found, list(filled))
    return 0


def _lines(name: str, most: int) -> list[str]:
    """The lines of a file; only line feeds end one, with or without a carriage return before."""
    try:
        data = sys.stdin.buffer.read(most + 1) if name == "-" else _bytes(Path(name), most)
        if len(data) > most:
            raise InputError(f"{name} is larger than {most // 1_000_000} MB (STUDIO_MAX_UPLOAD_MB); split it.")
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text (byte {error.start + 1}); save it as UTF-8.") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if not lines[-1] else lines


def _bytes(path: Path, most: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(most + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def _answers(lines: dict[int, str]) -> tuple[list[str], dict[int, str]]:
    """What was asked and what was answered, from lines of a prompt, a tab and an answer."""
    prompts, answers = [], {}
    for number, line in lines.items():
        prompt, tab, answer = line.partition("\t")
        if not tab or not prompt.strip():
            raise InputError(
                f"Line {number} is not a prompt, a tab and an answer; a reward run scores answers to something."
            )
        prompts.append(prompt)
        answers[number] = answer
    return prompts, answers


def _print_table(found: TextScores, numbers: list[int]) -> None:
    info = found.info
    print(f"{'line':>5}  {'toxicity':>8}  {'reward':>8}  {'label':<16}  text")
    for number, text, score in zip(numbers, found.texts, found.scores, strict=True):
        toxicity = "-" if score.toxicity is None else f"{score.toxicity:.3f}"
        reward = "-" if score.reward is None else f"{score.reward:+.3f}"
        shown = "".join(
            c if c.isprintable() else "�" for c in " ".join(text.split())
        )  # no terminal is steered by a text
        shown = shown if len(shown) <= _WIDTH else f"{shown[: _WIDTH - 1]}…"
        cut = f"  ({score.cut} tokens left out)" if score.cut else ""
        print(f"{number:>5}  {toxicity:>8}  {reward:>8}  {score.label or '-':<16}  {shown}{cut}")
    known = [score.toxicity for score in found.scores if score.toxicity is not None]
    if known:
        print(
            f"mean toxicity {sum(known) / len(known):.3f}, over 0.5: {sum(value > 0.5 for value in known)} of {len(known)}",
            end="",
        )
        print(f"; not covered: {lost}" if (lost := sum(not score.covered for score in found.scores)) else "")
    elif not any(score.covered for score in found.scores):
        print("none of these texts is covered by this scorer")
    print(f"scored by {info.name} (revision {info.revision or 'unknown'}): {info.measures}")
