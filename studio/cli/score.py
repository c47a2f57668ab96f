"""``score``: how toxic each line of a file is. A file of any length: it is checked first, then read, scored and written in blocks."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from studio.cli.common import Commands, command, warn
from studio.domain.toxicity import RUN, Explanation
from studio.errors import InputError, NotFoundError
from studio.services import Services

if TYPE_CHECKING:
    from studio.services.scoring.service import TextScores

_WIDTH = 72
#: Texts, and characters of them, that are scored and written at once.
_BLOCK, _BLOCK_CHARACTERS = 1_000, 2_000_000
#: Standard input up to this many bytes is kept in memory while it is checked, a longer one on disk.
_IN_MEMORY = 20_000_000
# some readers count these as ends of lines, and JSON leaves them as they are
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}


@dataclass
class _Block:
    """Lines to score: their texts by number in the file, and for a reward run what each answers."""

    texts: dict[int, str] = field(default_factory=dict)
    prompts: list[str] = field(default_factory=list)


def add(commands: Commands) -> None:
    """Register the command."""
    score = command(
        commands,
        "score",
        _score,
        "Score texts, one a line: how toxic each is, or with a reward run how much its answer is preferred.",
    )
    score.add_argument(
        "file",
        metavar="FILE",
        help="UTF-8 text of any length, one text a line; - reads standard input; blank lines are left out",
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
        "--why",
        action="store_true",
        help="name the words that carry each score (exact for the embedded scorer; any other scores each text again without each word)",
    )
    form = score.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help='print one JSON array: [{"text", "toxicity", "logits", "label"}, ...]'
    )
    form.add_argument("--jsonl", action="store_true", help="print one JSON object a line")
    form.add_argument("--csv", action="store_true", help="print CSV, with scorer and revision in every line")


def _score(services: Services, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from studio.services.scoring.service import check_texts

    with _opened(options.file) as file:
        lines = total = 0
        answers = options.scorer.strip().startswith(RUN)
        for block in _blocks(file, options.file, answers):
            check_texts(list(block.texts.values()), "Line", list(block.texts))
            total += len(block.texts)
        if not total:
            raise InputError(f"{options.file} has no text in it; write one text a line.")
        file.seek(0)
        lines = sum(1 for _ in file)
        if blank := lines - total:
            warn([f"{blank} blank {'line was' if blank == 1 else 'lines were'} left out."])
        if options.download:
            services.scoring.fetch(options.scorer, lambda share, text: print(text, file=sys.stderr))
        file.seek(0)
        writer = _Writer(options)
        with tqdm(total=total, unit=" texts", file=sys.stderr, disable=total <= _BLOCK) as progress:
            for block in _blocks(file, options.file, answers):
                prompts = block.prompts if answers else None
                scored = services.scoring.score_checked(options.scorer, list(block.texts.values()), prompts, "Line")
                why = services.scoring.explain(options.scorer, scored, prompts) if options.why else None
                writer.write(scored, list(block.texts), why)
                progress.update(len(block.texts))
        writer.end()
    return 0


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    """A file that can be read twice."""
    if name == "-":
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as kept:
            shutil.copyfileobj(sys.stdin.buffer, kept)
            kept.seek(0)
            yield kept
        return
    try:
        file = open(name, "rb")  # noqa: SIM115 - the errors of opening alone are translated
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {Path(name)}.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.") from error
    with file:
        yield file


def _blocks(file: IO[bytes], name: str, answers: bool) -> Iterator[_Block]:
    """The lines that have text, a block at a time; of a reward run's each is a prompt, a tab and an answer."""
    block, size = _Block(), 0
    for number, line in _lines(file, name):
        if not line.strip():
            continue
        if answers:
            prompt, tab, line = line.partition("\t")
            if not tab or not prompt.strip():
                raise InputError(
                    f"Line {number} is not a prompt, a tab and an answer; a reward run scores answers to something."
                )
            block.prompts.append(prompt)
        block.texts[number] = line
        size += len(line)
        if len(block.texts) >= _BLOCK or size >= _BLOCK_CHARACTERS:
            yield block
            block, size = _Block(), 0
    if block.texts:
        yield block


def _lines(file: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers; only line feeds end one, with or without a carriage return before."""
    from studio.services.scoring.service import MAX_TEXT_CHARACTERS

    most = 4 * MAX_TEXT_CHARACTERS * 2 + 2  # bytes of a prompt and an answer
    at = number = 0
    while raw := file.readline(most + 1):
        number += 1
        if len(raw) > most:
            raise InputError(
                f"Line {number} is longer than {most:,} bytes; texts stand one a line, of at most {MAX_TEXT_CHARACTERS:,} characters."
            )
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{name} is not UTF-8 text (byte {at + error.start + 1}); save it as UTF-8.") from error
        at += len(raw)
        yield number, (line.removeprefix("\ufeff") if number == 1 else line).removesuffix("\n").removesuffix("\r")


class _Writer:
    """Writes scored blocks to standard output in the form the options name."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._scored: TextScores | None = None  # the last block
        self._sum, self._known, self._over, self._lost, self._all = 0.0, 0, 0, 0, 0

    def write(self, scored: TextScores, numbers: list[int], why: list[Explanation | None] | None) -> None:
        """The next block; ``numbers`` are its texts' lines."""
        from studio.services.scoring.score_files import carried_by, score_csv, score_records

        first, self._scored = self._scored is None, scored
        if self._options.csv:
            sys.stdout.write(score_csv(scored, why, header=first).replace("\r\n", "\n"))
            return
        if self._options.json or self._options.jsonl:
            records = score_records(scored, why)
            lines = [json.dumps(one, ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS) for one in records]
            if self._options.json:
                sys.stdout.write(("[" if first else ", ") + ", ".join(lines))
            else:
                sys.stdout.write("".join(f"{one}\n" for one in lines))
            return
        if first:
            print(f"{'line':>5}  {'toxicity':>8}  {'reward':>8}  {'label':<16}  text")
        for index, (number, text, score) in enumerate(zip(numbers, scored.texts, scored.scores, strict=True)):
            toxicity = "-" if score.toxicity is None else f"{score.toxicity:.3f}"
            reward = "-" if score.reward is None else f"{score.reward:+.3f}"
            cut = f"  ({score.cut} tokens left out)" if score.cut else ""
            words = f"  [{_printable(carried_by(why[index]))}]" if why and why[index] else ""
            shown = _printable(text)
            shown = shown if len(shown) <= _WIDTH else f"{shown[: _WIDTH - 1]}…"
            print(f"{number:>5}  {toxicity:>8}  {reward:>8}  {score.label or '-':<16}  {shown}{cut}{words}")
        known = [score.toxicity for score in scored.scores if score.toxicity is not None]
        self._sum += sum(known)
        self._known += len(known)
        self._over += sum(value > 0.5 for value in known)
        self._lost += sum(not score.covered for score in scored.scores)
        self._all += len(scored.scores)

    def end(self) -> None:
        """What follows the last block: the array's end, or what the texts come to and who scored."""
        if self._options.json:
            print("]")
        if self._options.json or self._options.jsonl or self._options.csv or self._scored is None:
            return
        if self._known:
            lost = f"; not covered: {self._lost}" if self._lost else ""
            print(f"mean toxicity {self._sum / self._known:.3f}, over 0.5: {self._over} of {self._known}{lost}")
        elif self._lost == self._all:
            print("none of these texts is covered by this scorer")
        info = self._scored.info
        print(f"scored by {info.name} (revision {info.revision or 'unknown'}): {info.measures}")


def _printable(text: str) -> str:
    """The text on one line, so that no terminal is steered by it."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
