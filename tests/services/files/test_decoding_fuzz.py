"""Each parser fed with what nobody wrote: rows, or one sentence, within the bounds; never another exception."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio.errors import DatasetError
from studio.services.data.formats import read_prompts
from studio.services.data.preference_rows import parse_rows
from studio.services.data.row_reader import ReadOptions
from studio.services.files.decoding.documents import read_content
from studio.services.files.decoding.excel import excel_rows
from studio.services.files.decoding.parquet import parquet_rows
from studio.services.files.decoding.rows import Limits, Meter
from tests.services.files.test_decoding import ROWS, parquet, workbook

LIMITS = Limits(2_000_000, 500)
#: Together about half a minute; ``STUDIO_FUZZ`` times as many for a longer look.
_TIMES = int(os.environ.get("STUDIO_FUZZ", "1"))
FUZZ = settings(
    max_examples=250 * _TIMES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

scalars = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["prompt", "chosen", "rejected", "id", "train", "data", "pairs", "columns", "row", "text", ""])
documents = st.lists(st.dictionaries(names, values, max_size=5), max_size=5) | st.dictionaries(
    names, values, max_size=4
)
json_marks = st.lists(st.sampled_from([*'[]{},:"\\ntruefalsn0123e+-.', "\\ud83d", '"prompt"', "NaN", "é"]), max_size=60)
csv_marks = st.lists(
    st.sampled_from([*',;\t|"\r\n', "sep=;\n", "prompt", "a", "[{", "}]", "\0", "é", " "]), max_size=60
)


def outcome(path: Path) -> Any:
    """What a file holds, or what a person is told."""
    try:
        content = read_content(path, LIMITS)
        rows = content if isinstance(content, dict) else list(content)
        if isinstance(rows, list):
            parse_rows(rows, path.name, ReadOptions(skip_broken=True))
    except DatasetError as error:
        return checked(error, path)
    return rows


def checked(error: DatasetError, path: Path) -> str:
    """The sentence a person is told: it names the file and can be sent as UTF-8."""
    sentence = str(error)
    assert sentence.startswith(path.name)
    assert sentence.encode().count(b"\n") == 0
    return sentence


@FUZZ
@given(documents)
def test_json_that_is_sound_is_read_as_the_standard_library_reads_it(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    try:
        content = read_content(path, LIMITS)
        rows = content if isinstance(content, dict) else [row.value for row in content]
    except DatasetError:
        return
    if isinstance(document, list) or isinstance(rows, dict):
        assert json.dumps(rows) == json.dumps(document)


@FUZZ
@given(json_marks, st.sampled_from(["a.json", "a.jsonl"]))
def test_json_of_odd_marks(tmp_path: Path, marks: list[str], name: str) -> None:
    path = tmp_path / name
    path.write_text("".join(marks))
    outcome(path)


@FUZZ
@given(csv_marks, st.sampled_from(["a.csv", "a.tsv"]))
def test_csv_of_odd_marks(tmp_path: Path, marks: list[str], name: str) -> None:
    path = tmp_path / name
    path.write_text("".join(marks), newline="")
    outcome(path)


@FUZZ
@given(
    st.binary(max_size=200),
    st.sampled_from(["a.json", "a.jsonl", "a.csv", "a.json.gz", "a.txt", "a.xlsx", "a.parquet"]),
)
def test_any_bytes(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    if name == "a.txt":
        try:
            read_prompts(path, LIMITS.size, 10)
        except DatasetError as error:
            checked(error, path)
    elif name in ("a.xlsx", "a.parquet"):
        damaged(path, excel_rows if name == "a.xlsx" else parquet_rows)
    else:
        outcome(path)


SOUND: dict[str, Callable[[], bytes]] = {
    "a.json": lambda: json.dumps(ROWS * 9).encode(),
    "a.jsonl.gz": lambda: gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS * 9)),
    "a.parquet": lambda: parquet({name: [row[name] for row in ROWS * 9] for name in ROWS[0]}),
    "a.xlsx": lambda: workbook(list(ROWS[0]), *(list(row.values()) for row in ROWS)),
}


@pytest.mark.parametrize("name", SOUND)
def test_damage_to_sound_files(tmp_path: Path, name: str) -> None:
    rng, sound, path = random.Random(0), SOUND[name](), tmp_path / name
    for _ in range(150 * _TIMES):
        made = bytearray(sound)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(made) or 1)
            if rng.random() < 0.6 and made:
                made[at] ^= 1 << rng.randrange(8)
            else:
                made[at : at + rng.randrange(40)] = rng.randbytes(rng.randrange(40))
        path.write_bytes(made)
        if name in ("a.parquet", "a.xlsx"):
            damaged(path, excel_rows if name == "a.xlsx" else parquet_rows)
        else:
            outcome(path)


def damaged(path: Path, read: Callable[[Path, Meter], Any]) -> None:
    """These run in a child process, which may also end for want of memory."""
    try:
        list(read(path, Meter(path.name, LIMITS)))
    except DatasetError as error:
        checked(error, path)
    except MemoryError:
        return
