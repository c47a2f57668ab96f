"""Files of preference data: the course's format, chosen and rejected in every shape, every kind of file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.data import Message, PreferencePair
from studio.errors import DatasetError
from studio.services.data import preference_rows as imports
from studio.services.data.datasets import DatasetService, ImportParts
from studio.services.data.formats import RawRow
from tests.helpers.datasets import BAD, GOOD, SECOND, SHIPPED, SIDES, USER, as_csv, as_parquet, imported, lines

# -- the course's format ---------------------------------------------------------------------------------------------


def test_course_files(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    tests = put("test_prompt.json", [{"id": 1, "prompt": "新的問題？"}, {"id": 2, "prompt": "另一個問題？"}])
    report = service.import_file(put("labelled.json", SIDES), ImportParts(tests, title="  My\n data "))
    data = report.dataset
    assert (data.id, data.title, data.kind, data.source) == ("my-data", "My data", "sides", "labelled.json")
    assert (len(data.pairs), data.heldout, data.test_prompts) == (10, (), ("新的問題？", "另一個問題？"))
    assert data.pairs[0] == PreferencePair("1", "question 1?", "yes, 1", "no, 1")
    assert report.warnings == ()
    assert service.get("my-data") == data
    assert [info.id for info in service.list()] == [*SHIPPED, "my-data"]


def test_test_prompts_that_are_trained_on_are_a_warning(
    service: DatasetService, put: Callable[[str, Any], Path]
) -> None:
    tests = put("tests.json", [{"id": 1, "prompt": "  QUESTION\u3000３? "}, {"id": 2, "prompt": "fresh?"}])
    report = service.import_file(put("a.json", SIDES), ImportParts(tests))
    assert len(report.dataset.test_prompts) == 2
    assert "1 of 2 test prompts are also training prompts" in report.warnings[0]


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.csv", "t.txt"])
def test_prompts_in_every_format(service: DatasetService, put: Callable[[str, Any], Path], name: str) -> None:
    content = {
        "t.json": json.dumps(["one", "two"]),
        "t.jsonl": lines([{"prompt": "one"}, {"prompt": "two"}]),
        "t.csv": "id,prompt\n1,one\n2,two\n",
        "t.txt": "one\n\ntwo\n",
    }[name]
    assert service.import_file(put("a.json", SIDES), ImportParts(put(name, content))).dataset.test_prompts == (
        "one",
        "two",
    )


def test_a_fault_in_the_test_prompts_imports_nothing(
    service: DatasetService, settings: Settings, put: Callable[[str, Any], Path]
) -> None:
    tests = put("tests.json", [{"id": 1, "prompt": "fine"}, {"id": 2, "prompt": ""}])
    with pytest.raises(DatasetError, match=r"tests\.json, row 2: prompt is empty"):
        service.import_file(put("a.json", SIDES), ImportParts(tests))
    assert imported(settings) == []


# -- chosen / rejected -----------------------------------------------------------------------------------------------

SYSTEM = {"role": "system", "content": "be short"}
LABELS: dict[str, tuple[dict[str, Any], PreferencePair]] = {
    "plain": (
        {"prompt": "why?", "chosen": " because\n", "rejected": "no idea"},
        PreferencePair("1", "why?", "because", "no idea"),
    ),
    "implied words": (
        {"chosen": "Colour of the sky? It is blue.", "rejected": "Colour of the sky? It is black."},
        PreferencePair("1", "Colour of the sky? It is", "blue.", "black."),
    ),
    "implied, no spaces": (
        {"chosen": "該不該？支持，很好。", "rejected": "該不該？反對，不好。"},
        PreferencePair("1", "該不該？", "支持，很好。", "反對，不好。"),
    ),
    "conversational": (
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        PreferencePair("1", "why?", "because", "no idea"),
    ),
    "implied conversation": (
        {"chosen": [SYSTEM, USER, GOOD, SECOND, GOOD], "rejected": [SYSTEM, USER, GOOD, SECOND, BAD]},
        PreferencePair(
            "1",
            "and then?",
            "because",
            "no idea",
            (Message("system", "be short"), Message("user", "why?"), Message("assistant", "because")),
        ),
    ),
    "prompt as text beside conversations": (
        {"prompt": "why?", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        PreferencePair("1", "why?", "because", "no idea"),
    ),
    "prompt as text beside answers in turns": (
        {"prompt": "why?", "chosen": [GOOD], "rejected": [BAD]},
        PreferencePair("1", "why?", "because", "no idea"),
    ),
    "from / value": (
        {
            "chosen": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "because"}],
            "rejected": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "no idea"}],
        },
        PreferencePair("1", "why?", "because", "no idea"),
    ),
    "HH transcripts": (
        {
            "chosen": "\n\nHuman: hello\n\nAssistant: hi\n\nHuman: why?\n\nsecond line\n\nAssistant: because",
            "rejected": "\n\nHuman: hello\n\nAssistant: hi\n\nHuman: why?\n\nsecond line\n\nAssistant: no idea",
        },
        PreferencePair(
            "1", "why?\n\nsecond line", "because", "no idea", (Message("user", "hello"), Message("assistant", "hi"))
        ),
    ),
    "HH prompt": (
        {"prompt": "\n\nHuman: why?\n\nAssistant:", "chosen": " because", "rejected": " no idea"},
        PreferencePair("1", "why?", "because", "no idea"),
    ),
}


@pytest.mark.parametrize("shape", LABELS)
def test_labels_in_every_shape(service: DatasetService, put: Callable[[str, Any], Path], shape: str) -> None:
    row, expected = LABELS[shape]
    data = service.import_file(put("rows.jsonl", lines([row]))).dataset
    assert data.kind == "labels"
    assert data.pairs == (expected,)
    assert service.get(data.id) == data  # what is kept is what was read, history included
    assert DatasetService(replace_dirs(service)).get(data.id) == data


def replace_dirs(service: DatasetService) -> Settings:
    """Settings of a second service over the same folders, with nothing in memory."""
    return Settings(data_dir=service._shipped_dir, imported_dir=service._imported_dir)


def test_conversation_longer_than_the_answers(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    row = {"chosen": [USER, GOOD, SECOND, GOOD], "rejected": [USER, BAD]}
    report = service.import_file(put("rows.jsonl", lines([row])))
    assert report.dataset.pairs[0].support == "because"
    assert "goes on after the first answer" in report.warnings[0]
    assert "row 1 (line 1)" in report.warnings[0]


def test_labels_agree_with_trls_own_reading(tmp_path: Path) -> None:
    """The implied prompt of a conversation is what TRL takes it to be."""
    data_utils = pytest.importorskip("trl.data_utils")
    row = LABELS["implied conversation"][0]
    theirs = data_utils.extract_prompt(row)
    pair = imports.parse_rows([RawRow("row 1", row)], "x").pairs[0]
    turns = [{"role": m.role, "content": m.content} for m in pair.history] + [{"role": "user", "content": pair.prompt}]
    assert theirs["prompt"] == turns
    assert theirs["chosen"] == [{"role": "assistant", "content": pair.support}]
    assert theirs["rejected"] == [{"role": "assistant", "content": pair.oppose}]


# -- files -----------------------------------------------------------------------------------------------------------

FILES: dict[str, Callable[[], Any]] = {
    "a.json": lambda: SIDES,
    "wrapped.json": lambda: {"data": SIDES},
    "bom.json": lambda: b"\xef\xbb\xbf" + json.dumps(SIDES).encode(),
    "lines.json": lambda: lines(SIDES),
    "a.jsonl": lambda: lines(SIDES),
    "crlf.ndjson": lambda: lines(SIDES).replace("\n", "\r\n\r\n"),
    "a.jsonl.gz": lambda: gzip.compress(lines(SIDES).encode()),
    "A.JSON.GZ": lambda: gzip.compress(json.dumps(SIDES).encode()),
    "a.csv": lambda: as_csv(SIDES),
    "semicolon.csv": lambda: as_csv(SIDES, ";"),
    "a.tsv": lambda: as_csv(SIDES, "\t"),
    "a.csv.gz": lambda: gzip.compress(as_csv(SIDES).encode()),
    "a.parquet": lambda: as_parquet(SIDES),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_pairs(
    service: DatasetService, put: Callable[[str, Any], Path], name: str
) -> None:
    data = service.import_file(put(name, FILES[name]())).dataset
    assert data.pairs == tuple(PreferencePair(str(r["id"]), r["prompt"], r["support"], r["oppose"]) for r in SIDES)


def test_csv_keeps_line_breaks_quotes_long_cells_and_conversations(
    service: DatasetService, put: Callable[[str, Any], Path]
) -> None:
    long = "長" * 200_000
    rows = [
        {"prompt": 'say "x",\nplease', "chosen": long, "rejected": "short"},
        {"prompt": "", "chosen": json.dumps([USER, GOOD]), "rejected": json.dumps([USER, BAD])},
    ]
    pairs = service.import_file(put("a.csv", as_csv(rows))).dataset.pairs
    assert (pairs[0].prompt, pairs[0].support) == ('say "x",\nplease', long)
    assert (pairs[1].prompt, pairs[1].support) == ("why?", "because")


def test_parquet_with_conversations_and_absent_values(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    rows = [{"chosen": [USER, GOOD], "rejected": [USER, BAD], "score": 3.5}]
    report = service.import_file(put("a.parquet", as_parquet(rows)))
    assert report.dataset.pairs == (PreferencePair("1", "why?", "because", "no idea"),)
    assert report.warnings == ("a.parquet: fields not used: score.",)
    with pytest.raises(DatasetError, match="row 2: rejected is missing"):
        service.import_file(put("b.parquet", as_parquet([*rows, {"chosen": [USER, GOOD], "rejected": None}])))


def test_line_separators_inside_json_strings(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    row = {"prompt": "a\u2028b\x0bc?", "support": "yes\u0085", "oppose": "no\x1c1"}
    assert service.import_file(put("a.jsonl", lines([row]))).dataset.pairs[0].prompt == "a\u2028b\x0bc?"
