"""Preference data as the best-known public set has it: whole transcripts, most tidy, some not."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

WORDS = (
    "why",
    "how",
    "tea",
    "river",
    "moon",
    "code",
    "help",
    "walk",
    "sing",
    "paint",
    "stone",
    "bread",
    "kind",
    "maybe",
)


def transcript_rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """``count`` rows ``chosen``/``rejected`` of one to four rounds; about one in forty is of an untidy kind. No two are the
    same, no row's answers are the same."""
    rng = random.Random(seed)

    def words(n: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(n))

    rows = []
    for number in range(count):
        rounds = rng.randint(1, 4)
        talk = f"\n\nHuman: {number} {words(5)}?"
        for _ in range(rounds - 1):
            talk += f"\n\nAssistant: {words(8)}\n\nsecond paragraph\n\nHuman: {words(4)}"
        chosen = f"{talk}\n\nAssistant: yes, {words(6)}"
        rejected = f"{talk}\n\nAssistant: no, {words(3)}"
        if number % 40 == 7:
            chosen, rejected = _untidy(talk, words(3), words(4), (number // 40) % 6)
        rows.append({"chosen": chosen, "rejected": rejected})
    return rows


def _untidy(talk: str, one: str, two: str, kind: int) -> tuple[str, str]:
    """The ways in which real rows are untidy."""
    human, said = "\n\nHuman:", "\n\nAssistant:"
    return (
        # an empty turn of the assistant on the way
        (f"{talk}{said}{human} again{said} a {one}", f"{talk}{said}{human} again{said} b {two}"),
        # they part at a turn of the human
        (f"{talk}{said} both{human} {one}{said} a", f"{talk}{said} both{human} other {two}{said} b"),
        # one stops where the other goes on
        (f"{talk}{said} both", f"{talk}{said} both{human} {one}{said} {two}"),
        # two turns in a row of the assistant
        (f"{talk}{said} both{said} a {one}", f"{talk}{said} both{said} b {two}"),
        # it goes on after the answer that differs
        (f"{talk}{said} a {one}{human} more{said} c", f"{talk}{said} b {two}"),
        # no answer at the end of one
        (f"{talk}{said} a {one}", f"{talk}{said} "),
    )[kind]


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    """Rows as JSON Lines, gzipped where the name says so."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
